/** `skein-agent erase`: everything that this agent keeps on this machine goes. */
import { existsSync, lstatSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { attempt } from '../attempt.ts';
import type { Config } from '../config/schema.ts';
import { memoryPath } from '../disk-memory.ts';
import { belongingsIn, type Erased, eraseState, measure } from '../erase/disk-erase.ts';
import { diskIdentity } from '../identity/disk-identity.ts';
import { readLedger } from '../outbox/sqlite-outbox-ledger.ts';
import { table } from './tables.ts';
import { takeState } from './take-state.ts';

export interface EraseOptions {
  yes?: boolean;
  stop?: boolean;
}

export interface EraseReport {
  device: string | null;
  folder: string;
  removed: Erased[];
  /** In the folder, not the agent's. */
  left: string[];
}

/** What would go. */
export interface ErasePlan extends EraseReport {
  /** Records that are nowhere else; null where the buffer can not be read. */
  pending: number | null;
}

/** A checkout's `SKEIN_STATE_DIR` may name the folder of server and agent together. */
export const stateOf = ({ stateDir }: Pick<Config, 'stateDir'>): string =>
  [stateDir, join(stateDir, 'agent')].find((folder) => belongingsIn(folder).own.length > 0) ?? stateDir;

export function planErase(config: Config): ErasePlan {
  const folder = stateOf(config);
  const { others: left } = belongingsIn(folder);
  return { device: deviceOf(folder), folder, removed: measure(folder), left, pending: pendingIn(folder) };
}

const deviceOf = (folder: string): string | null =>
  attempt(() => diskIdentity(folder).load()?.device) ?? null;
const pendingIn = (folder: string): number | null => {
  const path = join(folder, 'outbox.db');
  return existsSync(path)
    ? (attempt(() => readLedger(path).reduce((sum, { pending }) => sum + pending, 0)) ?? null)
    : 0;
};

/** @throws SkeinError CONFLICT while an agent runs, REQUEST_INVALID when nobody confirms, DISK_FAILED */
export async function erase(
  config: Config,
  plan: ErasePlan,
  { yes, stop }: EraseOptions,
  confirm: (word: string) => Promise<void> = confirmByTyping,
): Promise<EraseReport> {
  const { folder, device, left } = plan;
  if (plan.removed.length === 0) return { device, folder, removed: [], left };
  if (!yes) await confirm(device ?? 'erase');
  const lock = await takeState(folder, stop === true);
  try {
    const removed = eraseState(folder);
    removeFromMemory(folder);
    removeSockets(config);
    return { device, folder, removed, left: belongingsIn(folder).others };
  } finally {
    lock.release();
    rmSync(join(folder, 'agent.lock'), { force: true });
  }
}

/** Copies of models that lie in memory for a while. */
function removeFromMemory(folder: string): void {
  const folders = [memoryPath('candidates', folder), memoryPath('plain', join(folder, 'models'))];
  for (const path of folders) rmSync(path, { recursive: true, force: true });
}

/** Of an agent that was killed. */
function removeSockets({ api: { socket, grpcSocket } }: Config): void {
  for (const path of [socket, grpcSocket])
    if (path !== undefined && lstatSync(path, { throwIfNoEntry: false })?.isSocket()) rmSync(path);
}

/** @throws SkeinError REQUEST_INVALID */
async function confirmByTyping(word: string): Promise<void> {
  const refuse = (why: string, fix: string) => new SkeinError('REQUEST_INVALID', why, { fix });
  if (!process.stdin.isTTY)
    throw refuse('this can not be undone, and nobody is here to confirm it', 'Say --yes.');
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
  const typed = await Promise.race([lines.question(`Type ${word} to erase it for good: `), ended]);
  lines.close();
  if (typed.trim() !== word) throw refuse('not confirmed: nothing was changed', `Type ${word} to confirm.`);
}

const size = (bytes: Bytes): string => (bytes < 10_000 ? `${bytes} B` : `${(bytes / 1e6).toFixed(2)} MB`);

const rows = (kinds: readonly Erased[]): string =>
  table(
    ['WHAT', 'FILES', 'SIZE'],
    kinds.map(({ kind, files, bytes }) => [kind, files, size(bytes)]),
  );

export function planText({ device, folder, removed, pending }: ErasePlan): string {
  const waiting =
    pending === null
      ? 'records that are not yet at the server'
      : `${pending} records that are not yet at the server`;
  return [`Goes for good from ${folder} (${device ?? 'not enrolled'}), with ${waiting}:`, rows(removed)].join(
    '\n',
  );
}

export function eraseText({ device, folder, removed, left }: EraseReport): string {
  if (removed.length === 0) return `nothing of an agent is in ${folder}`;
  return [
    `${device ?? 'This agent'} is erased from ${folder}:`,
    rows(removed),
    ...(left.length > 0 ? [`Left there, not the agent's: ${left.join(', ')}`] : []),
    'Flash media may keep old cells although the files held zeros: `skein-agent erase --help` says what helps.',
    'At the server: skein devices erase ID',
  ].join('\n');
}
