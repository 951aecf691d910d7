/** `skein keys add|remove|rotate|renew`: what roots should say next, signed here as far as the keys of the folder go. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ONLINE_ROLES, type OnlineRole } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Command } from 'commander';
import { KEY_ROLES, type KeyRole, OFFLINE_ROLES, type OfflineRole } from '../keys/roles.ts';
import type { PublicKeyOf } from '../keys/root-plan.ts';
import { nativeVerify, systemClock } from '../system-clock.ts';
import { conclude } from './ceremony.ts';
import { type ChangeOptions, prepareRoots, type RootChange, stagedOnlineKeys } from './change-roots.ts';
import type { CliContext } from './client.ts';
import { openKeyFolder } from './key-files.ts';
import {
  ceremonyIn,
  collect,
  type FolderOptions,
  folderOf,
  rolesOf,
  sourceOf,
  thresholdOf,
  withFolder,
} from './keys-options.ts';
import { newPassphrase } from './passphrase.ts';
import { holderOf, readPublicKey } from './public-keys.ts';
import { showOutcome, warnOfTokens } from './signing-words.ts';

interface ChangeFlags extends FolderOptions {
  role: string[];
  out?: string;
  prepare?: boolean;
  threshold?: string;
}

const withDraft = (command: Command): Command =>
  withFolder(command)
    .option('--out <file>', 'where the draft goes when others have to sign; default: <what>.draft.json here')
    .option('--prepare', 'sign nothing here, only write the draft');

export function addChanges(keys: Command, ctx: CliContext): void {
  withDraft(keys.command('add'))
    .description('Add keys to a role of a root')
    .requiredOption('--role <role>', OFFLINE_ROLES.join(', '), collect, [])
    .argument('[file...]', 'public keys of holders; none: a key is made here')
    .option('--threshold <n>', 'holders that must sign from then on')
    .option('--name <name>', 'of a key that is made here')
    .action(async (files: string[], options: ChangeFlags & { name?: string }) => {
      const [role] = rolesOf(options.role, OFFLINE_ROLES, 1);
      const added = await newKeys(ctx, options, role!, files);
      const threshold = thresholdOf(options.threshold);
      await change(ctx, options, `add to ${role}`, [{ kind: 'add', role: role!, keys: added, threshold }]);
    });
  withDraft(keys.command('remove'))
    .description('Take keys out of a role of a root')
    .requiredOption('--role <role>', OFFLINE_ROLES.join(', '), collect, [])
    .argument('<key...>', 'key files, holders’ names, or beginnings of public keys')
    .option('--threshold <n>', 'holders that must sign from then on')
    .action(async (gone: string[], options: ChangeFlags) => {
      const [role] = rolesOf(options.role, OFFLINE_ROLES, 1);
      const threshold = thresholdOf(options.threshold);
      await change(ctx, options, `remove from ${role}`, [
        { kind: 'remove', role: role!, keys: namedKeys(ctx, options, gone), threshold },
      ]);
    });
  withDraft(keys.command('rotate'))
    .description('Put new keys in the place of old ones')
    .requiredOption(
      '--role <role>',
      `${KEY_ROLES.join(', ')}, ack; online roles may be given together`,
      collect,
      [],
    )
    .option('--old <key>', 'which one goes (for roles with several keys)', collect, [])
    .option('--new <file>', 'public key of its new holder; none: a key is made here', collect, [])
    .option('--name <name>', 'of a key that is made here')
    .option(
      '--stolen',
      'targets: trust no list of models but the one in this folder, and forget all versions',
    )
    .action((options: ChangeFlags & RotateFlags) => rotate(ctx, options));
  withDraft(keys.command('renew'))
    .description('The same keys for longer: roots two years, the list of models one')
    .option('--role <role>', `${OFFLINE_ROLES.join(', ')}; default: all`, collect, [])
    .action(async (options: ChangeFlags) => {
      const roles = options.role.length > 0 ? rolesOf(options.role, OFFLINE_ROLES) : [...OFFLINE_ROLES];
      await change(
        ctx,
        options,
        `renew ${roles.join(', ')}`,
        roles.map((role) => ({ kind: 'renew', role })),
      );
    });
}

/** What people call keys: a file of this folder by its name, else whatever the root can tell (a holder, a hex beginning). */
function namedKeys(ctx: CliContext, options: FolderOptions, texts: readonly string[]): string[] {
  const own = openKeyFolder(folderOf(ctx, options)).find();
  return texts.map((text) => {
    const file = text.replace(/\.json$/, '');
    return own.find(({ name }) => name === `${file}.json`)?.publicKey ?? text;
  });
}

interface RotateFlags {
  old: string[];
  new: string[];
  name?: string;
  stolen?: boolean;
}

async function rotate(ctx: CliContext, options: ChangeFlags & RotateFlags): Promise<void> {
  const roles = rolesOf(options.role, [...KEY_ROLES, 'ack'] as const);
  const online = roles.filter((role): role is OnlineRole => ONLINE_ROLES.includes(role as OnlineRole));
  const offline = roles.filter((role): role is OfflineRole => OFFLINE_ROLES.includes(role as OfflineRole));
  if (offline.length > 1 || (offline.length === 1 && online.length > 0)) {
    throw new SkeinError('REQUEST_INVALID', 'an offline role is rotated by itself', {
      fix: 'Run it once for each offline role; online roles may be given together.',
    });
  }
  // With the versions go what the thief may have driven to their end (TUF 1.0.34, clause 5.3.11).
  const staged = options.stolen && offline[0] === 'targets' ? (['snapshot', 'timestamp'] as const) : online;
  const api = await ctx.api();
  const changes: RootChange[] = staged.length > 0 ? await stagedOnlineKeys(api, staged) : [];
  for (const role of offline) {
    const old = options.old.length > 0 ? namedKeys(ctx, options, options.old) : undefined;
    requireOne(role, old, options);
    changes.push({ kind: 'replace', role, old, keys: await newKeys(ctx, options, role, options.new) });
  }
  if (changes.length === 0) return ctx.print({ rotated: roles.join(', '), published: true });
  await change(ctx, options, `rotate ${roles.join(', ')}`, changes, options.stolen === true);
}

/** Of a role with several keys one goes at a time: the others have to vouch for the change. */
function requireOne(role: KeyRole, old: readonly string[] | undefined, { new: files }: RotateFlags): void {
  if (role === 'targets' || (old !== undefined && old.length >= 1)) return;
  throw new SkeinError('REQUEST_INVALID', `which key of ${role} is to go?`, {
    fix: `Give --old NAME${files.length > 0 ? '' : ' and --new FILE'}; see \`skein keys list\`.`,
  });
}

async function newKeys(
  ctx: CliContext,
  options: FolderOptions & { name?: string },
  role: OfflineRole,
  files: readonly string[],
): Promise<PublicKeyOf[]> {
  if (files.length > 0) {
    return files.map((path) => {
      const key = readPublicKey(path, nativeVerify);
      if (key.role === role) return { publicKey: key.public, name: key.name };
      throw new SkeinError('KEYS_INVALID', `${path} is a key for ${key.role}, not for ${role}`, {
        fix: 'Ask its holder for a key of the right role: one key serves one role.',
      });
    });
  }
  const dir = folderOf(ctx, options);
  const name = options.name ?? freeNumber(dir, role);
  // A change that was refused half way left its key: named again, it is the one meant now.
  const made = openKeyFolder(dir)
    .find()
    .find((key) => key.name === `${role}-${name}.json`);
  const key = made ?? (await openKeyFolder(dir).generate(role, name, await newPassphrase(sourceOf(options))));
  return [{ publicKey: key.publicKey, name: holderOf(key) }];
}

function freeNumber(dir: string, role: OfflineRole): string {
  for (let n = 1; n < 10_000; n++) if (!existsSync(join(dir, `${role}-${n}.json`))) return String(n);
  throw new SkeinError('CONFLICT', `${dir} holds too many keys`);
}

async function change(
  ctx: CliContext,
  options: ChangeFlags,
  purpose: string,
  changes: readonly RootChange[],
  stolen = false,
): Promise<void> {
  const api = await ctx.api();
  const ceremony = ceremonyIn(ctx, options);
  const given: ChangeOptions = {
    api,
    dir: ceremony.dir,
    verify: nativeVerify,
    clock: systemClock,
    purpose,
    stolen,
  };
  const parts = await prepareRoots(given, changes);
  const file = options.out ?? `${parts.documents.map(({ kind }) => kind).join('+')}.draft.json`;
  const outcome = await conclude(ceremony, api, parts, file, options.prepare === true);
  showOutcome(ctx, outcome);
  if (outcome.published) await warnOfTokens(api);
}
