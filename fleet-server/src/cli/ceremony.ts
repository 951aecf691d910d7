/**
 * The shell of signing: whatever is to be signed is a {@link Draft}. The keys of this folder sign it; when that is
 * enough it is published, else it goes into a file that travels to the other holders. Pins move only with what the
 * server has taken.
 */
import { readFileSync, statSync } from 'node:fs';
import { toBase64 } from '@skein/protocol/base64.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import { ed25519Keys, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import { writeWhole } from '../disk-files.ts';
import { bytesOf, encodeDraft, MAX_DRAFT_BYTES, openDraft, parseDraft } from '../keys/draft.ts';
import type { Draft, DraftParts } from '../keys/draft-checks.ts';
import {
  isComplete,
  mergeDrafts,
  type Progress,
  progressOf,
  requireComplete,
  signable,
  withSignature,
} from '../keys/draft-signing.ts';
import { describeDraft, fingerprintOf, requirePinned } from '../keys/review.ts';
import type { AskPin, Token } from '../keys/token.ts';
import type { ApiClient } from './client.ts';
import { dropPins, type Pin, readPin, readPins, writePin } from './pins.ts';

export interface Ceremony {
  /** Folder of keys and pins. */
  dir: string;
  token: Token;
  ask: AskPin;
  verify: Verify;
  clock: Pick<Clock, 'now'>;
}

export interface Outcome {
  published: boolean;
  /** Where the draft waits for other holders; null: it was published. */
  file: string | null;
  /** Keys of this folder that signed now. */
  signedBy: string[];
  progress: Progress[];
  /** What changes, in words. */
  changes: string[];
}

/** Signs with the keys here and publishes when that suffices; else writes `file`. @throws SkeinError PASSPHRASE_*, CONFLICT */
export async function conclude(
  ceremony: Ceremony,
  api: ApiClient,
  parts: DraftParts,
  file: string,
  onlyPrepare = false,
): Promise<Outcome> {
  const read = ed25519Keys(ceremony.verify);
  const draft = openDraft(parts, read);
  const signed = onlyPrepare ? { draft, signedBy: [] } : await signHere(ceremony, draft, read);
  const progress = progressOf(signed.draft, read);
  const published = !onlyPrepare && isComplete(progress);
  if (published) await publish(ceremony, api, signed.draft);
  else writeDraft(file, signed.draft);
  return {
    published,
    file: published ? null : file,
    signedBy: signed.signedBy,
    progress,
    changes: describeDraft(signed.draft),
  };
}

/** @throws SkeinError as {@link parseDraft}; CONFLICT when the files are not copies of one draft */
export function readDrafts(files: readonly string[], read: ReadKey): Draft {
  const drafts = files.map((path) => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found?.isFile()) throw new SkeinError('NOT_FOUND', `there is no file ${path}`);
    if (found.size > MAX_DRAFT_BYTES)
      throw new SkeinError('METADATA_INVALID', `${path}: ${found.size} bytes is no draft`);
    return parseDraft(new Uint8Array(readFileSync(path)), read, path);
  });
  const [first, ...others] = drafts;
  if (!first) throw new SkeinError('REQUEST_INVALID', 'no draft was given');
  return others.reduce(mergeDrafts, first);
}

/**
 * Every key here that may sign.
 * @param replace the holder knows that the file begins anew, with no regard to what is pinned here
 * @throws SkeinError KEYS_INVALID when none is named, PASSPHRASE_*, SERVER_NOT_TRUSTED, METADATA_ROLLBACK
 */
export async function signDraft(
  ceremony: Ceremony,
  draft: Draft,
  replace = false,
): Promise<{ draft: Draft; signedBy: string[] }> {
  const read = ed25519Keys(ceremony.verify);
  if (!replace) requirePinned(draft, readPins(ceremony.dir));
  const signed = await signHere(ceremony, draft, read);
  if (signed.signedBy.length === 0) throw nothingToSign(ceremony, draft, read);
  if (replace) dropPins(ceremony.dir);
  else pinChains(ceremony.dir, draft);
  return signed;
}

async function signHere({ token, ask }: Ceremony, draft: Draft, read: ReadKey) {
  const tasks = signable(draft, token.find());
  let signed = draft;
  for (const { document, key } of tasks) {
    const signature = await token.sign(key, document.canonical, ask);
    signed = withSignature(signed, document.kind, key.publicKey, signature, read);
  }
  return { draft: signed, signedBy: [...new Set(tasks.map(({ key }) => key.name))] };
}

function nothingToSign({ token, dir }: Ceremony, draft: Draft, read: ReadKey): SkeinError {
  const open = progressOf(draft, read).flatMap((one) => one.open);
  const done = open.length === 0 || isComplete(progressOf(draft, read));
  return new SkeinError(
    done ? 'CONFLICT' : 'KEYS_INVALID',
    done
      ? 'the file is signed by enough keys already'
      : `none of the ${token.find().length} keys in ${dir} may sign this`,
    { fix: done ? 'Publish it: `skein keys publish FILE`.' : 'Give the folder of a holder’s key (--dir).' },
  );
}

/** A machine that signs remembers what it signed upon, and will not sign behind it. */
function pinChains(dir: string, { plain, targets }: Draft): void {
  for (const repo of ['image', 'director'] as const) {
    const last = plain.chains[repo].at(-1);
    const pin: Pin = `${repo}-root`;
    if (last && !sameBytes(readPin(dir, pin), last)) writePin(dir, pin, last);
  }
  const seen = readPins(dir).targets?.version ?? 0;
  if (plain.targets && targets && targets.version > seen) writePin(dir, 'image-targets', plain.targets);
}

export const writeDraft = (file: string, draft: Draft): void => writeWhole(file, encodeDraft(draft));

/** @throws SkeinError THRESHOLD_UNMET, and what the server refuses */
export async function publish(
  { dir, verify }: Pick<Ceremony, 'dir' | 'verify'>,
  api: ApiClient,
  draft: Draft,
  replace = false,
): Promise<void> {
  const read = ed25519Keys(verify);
  requireComplete(draft, read);
  const bytes = Object.fromEntries(draft.documents.map((one) => [one.kind, bytesOf(one)]));
  const targets = bytes['image-targets'];
  const withRoots = bytes['image-root'] !== undefined || bytes['director-root'] !== undefined;
  if (withRoots) {
    const now = await rootsNow(api);
    const of = (repo: 'image' | 'director') => pick(bytes[`${repo}-root`], now?.[repo], repo);
    const body = { image: of('image'), director: of('director') };
    await api.call(replace ? 'replaceRoots' : 'putRoots', {
      body: targets ? { ...body, targets: toBase64(targets) } : body,
    });
  } else await api.call('putTargets', { body: { targets: toBase64(targets!) } });
  for (const [kind, said] of Object.entries(bytes)) writePin(dir, kind as Pin, said);
}

async function rootsNow(api: ApiClient): Promise<{ image: string; director: string } | undefined> {
  try {
    return await api.call('getRoots');
  } catch (thrown) {
    if (asSkeinError(thrown).code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
}

/** The side that does not change is sent as it is; a root that the server has by other holders’ signatures too. */
function pick(own: Uint8Array | undefined, shown: string | undefined, repo: string): string {
  if (!own && shown === undefined) {
    throw new SkeinError('CONFLICT', `the server has no ${repo} root, and the file holds none`, {
      fix: 'The first roots are published together: `skein keys init`.',
    });
  }
  if (!own) return shown!;
  const same =
    shown !== undefined && fingerprintOf(signedOf(shown)) === fingerprintOf(signedOf(toBase64(own)));
  return same ? shown : toBase64(own);
}

const signedOf = (base64: string): object =>
  (JSON.parse(Buffer.from(base64, 'base64').toString()) as { signed: object }).signed;

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && Buffer.compare(a, b) === 0;
