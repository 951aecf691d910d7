/** Encryption of what lies on the disk, as the configuration says: which port gives the key, and what it opens. */
import type { Log } from '@skein/protocol/ports.ts';
import type { AtRestStatus } from '../api/status.ts';
import { childKey } from '../at-rest/child-key.ts';
import {
  type DataKeys,
  forgetDataKeys,
  hasDataKeys,
  keyLost,
  makeDataKeys,
  type OpenedKeys,
  openDataKeys,
  STORES,
  type Store,
} from '../at-rest/disk-data-keys.ts';
import { diskKey, liesBeside } from '../at-rest/disk-key.ts';
import type { KeyPort } from '../at-rest/key-port.ts';
import { systemdKey } from '../at-rest/systemd-key.ts';
import type { AtRestConfig, KeyWay } from '../config/at-rest.ts';
import type { Config } from '../config/schema.ts';

export interface AtRest {
  keys: DataKeys;
  status: AtRestStatus;
  /** All of a store lies as it is wanted; once nothing is encrypted any more the data keys are forgotten. */
  settled(store: Store): void;
}

type Part = Pick<Config, 'stateDir' | 'atRest'>;

/** undefined: none is configured. */
export function keyPortOf({ command, credential, file }: KeyWay): KeyPort | undefined {
  if (credential !== undefined) return systemdKey(credential);
  if (command !== undefined) return childKey(command);
  return file === undefined ? undefined : diskKey(file);
}

/**
 * undefined: everything lies in clear.
 * @throws SkeinError DATA_KEY_NEEDED, DATA_KEY_WRONG, KEYS_INVALID, DISK_FULL, DISK_FAILED
 */
export async function openAtRest({ stateDir, atRest }: Part, log: Log): Promise<AtRest | undefined> {
  const port = keyPortOf(atRest);
  const encrypts = atRest.write === 'encrypted';
  const made = hasDataKeys(stateDir);
  if (!port) {
    if (made) throw keyLost(stateDir);
    return undefined;
  }
  if (!encrypts && !made) {
    log.info('nothing is encrypted on the disk; `atRest` may be removed');
    return undefined;
  }
  const key = await port.read();
  const { keys, rewrapped } = made
    ? await openDataKeys(stateDir, key, previousOf(atRest))
    : { keys: makeDataKeys(stateDir, key), rewrapped: false };
  if (rewrapped) log.info('the key is changed; `atRest.previous` may be removed');
  const beside = keyBeside({ stateDir, atRest });
  if (beside) log.warn(beside.warning, { fix: beside.fix });
  log.info('data on the disk is encrypted', { key: port.from, encrypts });
  return { keys, status: { encrypts, key: port.from }, settled: settling(stateDir, encrypts, log) };
}

const previousOf = ({ previous }: AtRestConfig): (() => Promise<Uint8Array>) | undefined => {
  const port = keyPortOf(previous);
  return port && (() => port.read());
};

function settling(stateDir: string, encrypts: boolean, log: Log): (store: Store) => void {
  const left = new Set<Store>(STORES);
  return (store) => {
    if (encrypts || !left.delete(store) || left.size > 0) return;
    forgetDataKeys(stateDir);
    log.info('everything on the disk is in clear again; `atRest` may be removed');
  };
}

/** A key on the disk that it is to protect. */
export function keyBeside({ stateDir, atRest: { file } }: Part): Advice | undefined {
  if (file === undefined || !liesBeside(file, stateDir)) return undefined;
  return {
    warning: `the key ${file} lies on the same file system as the data: it protects nothing there`,
    fix: 'Keep it elsewhere: a systemd credential sealed to the TPM2 (AT-REST.md), a command, another disk.',
  };
}

interface Advice {
  warning: string;
  fix: string;
}

/** What can be said of the key without asking for it. */
export function keyStanding(config: Part): { from?: string; beside?: Advice; outside?: Advice } {
  const { credential } = config.atRest;
  const from = keyPortOf(config.atRest)?.from;
  if (from === undefined) return {};
  const beside = keyBeside(config);
  if (credential === undefined || process.env.CREDENTIALS_DIRECTORY)
    return beside ? { from, beside } : { from };
  const warning = `on; its key, ${from}, is handed to the service alone, so it was not tried`;
  const fix = 'Run it by systemd-run with the same credential, as in AT-REST.md.';
  return { from, outside: { warning, fix } };
}

/** Does the configured key open what is there? Nothing is changed. @throws as {@link openAtRest} */
export async function tryAtRest({ stateDir, atRest }: Part): Promise<OpenedKeys | undefined> {
  const port = keyPortOf(atRest);
  const made = hasDataKeys(stateDir);
  if (!port && made) throw keyLost(stateDir);
  if (!port) return undefined;
  const key = await port.read();
  return made ? openDataKeys(stateDir, key, previousOf(atRest), false) : undefined;
}
