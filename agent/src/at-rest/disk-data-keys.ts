/**
 * `at-rest.json` in the state directory: a random data key for each store, wrapped by the key that the port gives. So that
 * key can be changed without writing the data anew.
 *
 * Layout: SHA-256 in hex of the second line, newline, JSON in one line, newline. Its loss is the loss of all that is
 * encrypted, so there are two copies, each written whole: a damaged one is made again from the other.
 *
 * A kill at any moment: before the first copy is whole nothing was encrypted with these keys; afterwards they are there.
 */
import { createHash, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { checker, strict } from '@skein/protocol/schema.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { diskError, writeWhole } from '../disk-whole.ts';
import { readSmall } from './disk-small.ts';
import { KEY_BYTES } from './key-bytes.ts';
import { keyNeeded, keyWrong } from './key-port.ts';
import { gcmOpen, gcmSeal, secretKey } from './node-gcm.ts';

/** What has a data key of its own. */
export const STORES = ['outbox', 'models'] as const;
export type Store = (typeof STORES)[number];
export type DataKeys = Record<Store, Uint8Array>;

const FORMAT = 1;
const MAX_BYTES: Bytes = 4 * KIB;
const copiesIn = (stateDir: string): string[] =>
  ['at-rest.json', 'at-rest.copy.json'].map((name) => join(stateDir, name));
const aboutOf = (store: Store): string => `skein at rest 1\ndata key of ${store}\n`;

/** Is anything encrypted here? */
export const hasDataKeys = (stateDir: string): boolean => copiesIn(stateDir).some((path) => existsSync(path));

/** Once nothing is encrypted any more. */
export function forgetDataKeys(stateDir: string): void {
  for (const path of copiesIn(stateDir)) rmSync(path, { force: true });
}

/** New ones, durable before they are given out. @throws SkeinError DISK_FULL, DISK_FAILED */
export function makeDataKeys(stateDir: string, key: Uint8Array): DataKeys {
  const made = Object.fromEntries(STORES.map((store) => [store, new Uint8Array(randomBytes(KEY_BYTES))]));
  writeKeys(stateDir, key, made as DataKeys);
  return made as DataKeys;
}

export interface OpenedKeys {
  keys: DataKeys;
  /** They were wrapped by the previous key and are now wrapped by the present one. */
  rewrapped: boolean;
}

/**
 * @param previous what wrapped them before, when the key is changed
 * @param mend false: nothing is written
 * @throws SkeinError DATA_KEY_WRONG, KEYS_INVALID when both copies are damaged, DISK_*
 */
export async function openDataKeys(
  stateDir: string,
  key: Uint8Array,
  previous?: () => Promise<Uint8Array>,
  mend = true,
): Promise<OpenedKeys> {
  const [a, b] = copiesIn(stateDir).map(readCopy);
  const whole = [a, b].filter((copy) => copy !== undefined);
  if (whole.length === 0) throw noneWhole(stateDir);
  const opened = firstThatOpens(whole, secretKey(key));
  const keys = opened ?? (previous && firstThatOpens(whole, secretKey(await previous())));
  if (!keys) throw doesNotOpen(stateDir, previous !== undefined);
  const differ = a === undefined || JSON.stringify(a) !== JSON.stringify(b);
  if (mend && (!opened || differ)) writeKeys(stateDir, key, keys);
  return { keys, rewrapped: !opened };
}

/** Of a state directory that its agent has left; undefined: there are none that this key opens. @throws SkeinError DISK_FAILED, KEYS_INVALID */
export const dataKeysBy = (stateDir: string, key: Uint8Array): DataKeys | undefined =>
  firstThatOpens(
    copiesIn(stateDir).flatMap((path) => readCopy(path) ?? []),
    secretKey(key),
  );

type Copy = Record<Store, string>;
const wrapped = Type.String({ maxLength: 128 });
const parseCopy = checker(
  strict({ format: Type.Integer(), keys: strict({ outbox: wrapped, models: wrapped }) }),
  'KEYS_INVALID',
  MAX_BYTES,
);

/** undefined: not there, or damaged. @throws SkeinError DISK_FAILED */
function readCopy(path: string): Copy | undefined {
  if (!existsSync(path)) return undefined;
  let text: string;
  try {
    text = Buffer.from(readSmall(path, MAX_BYTES)).toString();
  } catch (cause) {
    throw new SkeinError('DISK_FAILED', `cannot read ${path}: ${asSkeinError(cause).message}`, {
      cause,
      fix: 'Run as the agent’s user; check the disk.',
    });
  }
  const [hash, json = ''] = text.split('\n', 2);
  if (createHash('sha256').update(json).digest('hex') !== hash) return undefined;
  const { format, keys } = parseCopy.parse(Buffer.from(json), path);
  if (format === FORMAT) return keys;
  throw new SkeinError('KEYS_INVALID', `${path} is of format ${format}; this version reads ${FORMAT}`, {
    fix: 'Install the agent that wrote it.',
  });
}

function firstThatOpens(copies: readonly Copy[], key: KeyObject): DataKeys | undefined {
  for (const copy of copies) {
    const [outbox, models] = STORES.map((store) =>
      gcmOpen(key, Buffer.from(copy[store], 'base64'), aboutOf(store)),
    );
    if (outbox && models) return { outbox, models };
  }
  return undefined;
}

function writeKeys(stateDir: string, key: Uint8Array, keys: DataKeys): void {
  const wrapped = STORES.map((store) => [
    store,
    gcmSeal(secretKey(key), keys[store], aboutOf(store)).toString('base64'),
  ]);
  const json = JSON.stringify({ format: FORMAT, keys: Object.fromEntries(wrapped) });
  const hash = createHash('sha256').update(json).digest('hex');
  try {
    for (const path of copiesIn(stateDir)) writeWhole(path, `${hash}\n${json}\n`);
  } catch (thrown) {
    const { code, message } = diskError(thrown);
    throw new SkeinError(code, `the data keys cannot be written to ${stateDir}: ${message}`, {
      cause: thrown,
    });
  }
}

const noneWhole = (stateDir: string): SkeinError =>
  new SkeinError(
    'KEYS_INVALID',
    `both copies of the data keys, ${copiesIn(stateDir).join(' and ')}, are damaged`,
    {
      fix: 'Bring one back from a backup. Without it nobody can read what is encrypted: move outbox.db, models and both files away to begin anew.',
    },
  );

const doesNotOpen = (stateDir: string, tried: boolean): SkeinError =>
  keyWrong(
    `the configured key does not open ${copiesIn(stateDir)[0]}${tried ? ', nor does the previous one' : ''}; nothing was changed`,
    'Give the key that it was wrapped with; to change it, configure the old one as `atRest.previous` beside the new one.',
  );

export const keyLost = (stateDir: string): SkeinError =>
  keyNeeded(
    `${copiesIn(stateDir)[0]} says that data here is encrypted, and no key is configured`,
    'Configure `atRest` with the key as before. To go back to clear set `atRest.write: plain` beside it, start once, and remove both then.',
  );
