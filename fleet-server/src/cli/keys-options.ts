/** What the commands with keys have in common: which folder, whose passphrase, which roles. */
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import type { Command } from 'commander';
import { roleNamed } from '../keys/roles.ts';
import { nativeVerify, systemClock } from '../system-clock.ts';
import type { Ceremony } from './ceremony.ts';
import type { CliContext } from './client.ts';
import { openKeyFolder } from './key-files.ts';
import { passphraseAsker, processTerminal } from './passphrase.ts';

export interface FolderOptions {
  dir?: string;
  passphraseFile?: string;
}

export const reader = ed25519Keys(nativeVerify);
export const folderOf = (ctx: CliContext, { dir }: FolderOptions) => dir ?? join(ctx.stateDir, 'keys');
export const sourceOf = ({ passphraseFile }: FolderOptions) => ({
  file: passphraseFile,
  env: process.env.SKEIN_KEY_PASSPHRASE,
  terminal: processTerminal(),
});
export const askerOf = (options: FolderOptions) => passphraseAsker(sourceOf(options));

export const ceremonyIn = (ctx: CliContext, options: FolderOptions): Ceremony => {
  const dir = folderOf(ctx, options);
  return { dir, token: openKeyFolder(dir), ask: askerOf(options), verify: nativeVerify, clock: systemClock };
};

/** Options that every command with keys has. */
export const withFolder = (command: Command): Command =>
  command
    .option('--dir <folder>', 'folder of the key files; default: keys/ beside the operator file')
    .option('--passphrase-file <file>', 'its first line; else SKEIN_KEY_PASSPHRASE, else asked for');

export const collect = (value: string, before: string[]): string[] => [...before, value];

/** @throws SkeinError REQUEST_INVALID */
export function rolesOf<T extends string>(
  given: readonly string[],
  roles: readonly T[],
  most = roles.length,
): T[] {
  const named = [...new Set(given.map((text) => roleNamed(text, roles)))];
  if (named.length >= 1 && named.length <= most) return named;
  throw new SkeinError('REQUEST_INVALID', most === 1 ? 'give one --role' : 'give a --role', {
    fix: `One of: ${roles.join(', ')}.`,
  });
}

/** @throws SkeinError THRESHOLD_INVALID */
export function thresholdOf(text: string | undefined): number | undefined {
  if (text === undefined || /^[1-9]\d{0,2}$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new SkeinError(
    'THRESHOLD_INVALID',
    `--threshold takes the number of holders that must sign, not ${JSON.stringify(text)}`,
    {
      fix: 'Give 1 to the number of keys; 0 would let anybody sign.',
    },
  );
}
