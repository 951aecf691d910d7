/**
 * `skein keys`: the operator's offline keys. Every change of a root is a draft that the keys of this folder sign; when
 * others have to sign too it travels as a file: `skein keys sign` on each machine, `skein keys publish` at the end.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ONLINE_ROLES, type OnlineRole } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import type { Command } from 'commander';
import { progressOf } from '../keys/draft.ts';
import { describeDraft } from '../keys/review.ts';
import { KEY_ROLES, type KeyRole, OFFLINE_ROLES, type OfflineRole, roleNamed } from '../keys/roles.ts';
import type { PublicKeyOf } from '../keys/root-plan.ts';
import { nativeVerify, systemClock } from '../system-clock.ts';
import { type Ceremony, conclude, publish, readDrafts, signDraft, writeDraft } from './ceremony.ts';
import { type ChangeOptions, prepareRoots, type RootChange, stagedOnlineKeys } from './change-roots.ts';
import type { CliContext } from './client.ts';
import { firstRoots } from './first-roots.ts';
import { initKeys } from './init-keys.ts';
import { openKeyFolder, protectKey } from './key-files.ts';
import { listTrust } from './key-list.ts';
import { newPassphrase, passphraseAsker, processTerminal } from './passphrase.ts';
import { readPins } from './pins.ts';
import { exportPublicKey, holderOf, readPublicKey } from './public-keys.ts';
import { guideOf, RECOVERIES } from './recovery-guide.ts';
import { showOutcome, showPublished, warnOfTokens } from './signing-words.ts';

export interface FolderOptions {
  dir?: string;
  passphraseFile?: string;
}

const reader = ed25519Keys(nativeVerify);
export const folderOf = (ctx: CliContext, { dir }: FolderOptions) => dir ?? join(ctx.stateDir, 'keys');
const sourceOf = ({ passphraseFile }: FolderOptions) => ({
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

const collect = (value: string, before: string[]): string[] => [...before, value];

export function addKeysCommands(program: Command, ctx: CliContext): void {
  const keys = program
    .command('keys')
    .description('Offline keys of the operator: roots and publishing')
    .addHelpText('after', EXAMPLES);
  addInit(keys, ctx);
  addFolderCommands(keys, ctx);
  addChanges(keys, ctx);
  addDraftCommands(keys, ctx);
  keys
    .command('recover')
    .description('What to do when a key is lost or stolen')
    .argument('[key]', `one of: ${RECOVERIES.map(({ key }) => key).join(', ')}`)
    .action((key?: string) => void process.stdout.write(guideOf(key)));
}

const EXAMPLES = `
One person, one machine (what \`npm start\` does):
  skein keys init

Three people, each with a key that never leaves their machine:
  skein keys create --role root --role director-root --name alice    # each of them, also bob and carol
  skein keys export -a                                               # root-alice.pub.json, … to the operator
  skein keys init --key root-alice.pub.json --key root-bob.pub.json … --out first.draft.json
  skein keys sign first.draft.json                                   # two of them, one after the other or apart
  skein keys publish first.draft.json                                # at the operator; copies may be given together

Later:
  skein keys list                                  # who may sign, and until when everything holds
  skein keys renew                                 # the same keys, another two years (targets: one)
  skein keys rotate --role targets                 # a new publisher’s key made here
  skein keys rotate --role timestamp               # a new online key made by the server
  skein keys rotate --role root --old carol --new root-dave.pub.json
  skein keys recover                               # a key was lost or stolen: what now
`;

function addInit(keys: Command, ctx: CliContext): void {
  withFolder(keys.command('init'))
    .description('Make root and publisher keys here, sign both roots and upload them')
    .option(
      '--key <file>',
      'a holder’s public key (skein keys export); no key is made here then',
      collect,
      [],
    )
    .option('--threshold <n>', 'holders that must sign a root; default: more than half (with --key)')
    .option('--out <file>', 'where the unsigned roots go (with --key)', 'first-roots.draft.json')
    .option(
      '--replace',
      'begin anew: every device has to enrol again (see skein keys recover root-threshold)',
    )
    .addHelpText(
      'after',
      '\nA passphrase protects the files. Keep copies of the root keys off this machine.\n',
    )
    .action(async (options: FolderOptions & InitOptions) => {
      if (options.key.length > 0) return prepareFirst(ctx, options);
      const dir = folderOf(ctx, options);
      const source = sourceOf(options);
      const known = openKeyFolder(dir).find();
      const sealed = known.find(({ needsPin }) => needsPin);
      const fresh = known.length === 0 ? await newPassphrase(source) : undefined;
      const asked = sealed ? await askerOf(options)(sealed) : fresh;
      const outcome = await initKeys({
        api: await ctx.api(),
        dir,
        passphrase: asked,
        clock: systemClock,
        verify: nativeVerify,
        replace: options.replace === true,
      });
      if (ctx.output === 'json') return ctx.print({ changed: outcome.changed, dir, keys: outcome.keys });
      ctx.print(
        outcome.keys.map(({ name, role, publicKey, sealed }) => ({ name, role, publicKey, sealed })),
        {
          columns: [
            { title: 'KEY', value: (key) => key.name },
            { title: 'ROLE', value: (key) => key.role },
            { title: 'PUBLIC', value: (key) => key.publicKey },
            { title: 'PASSPHRASE', value: (key) => (key.sealed ? 'yes' : 'no') },
          ],
        },
      );
      const said = outcome.changed
        ? 'Both roots are signed and uploaded'
        : 'The server has these roots already';
      process.stderr.write(`${said}. Keys: ${dir}\n`);
    });
}

interface InitOptions {
  key: string[];
  threshold?: string;
  out: string;
  replace?: boolean;
}

async function prepareFirst(ctx: CliContext, options: FolderOptions & InitOptions): Promise<void> {
  const api = await ctx.api();
  const parts = firstRoots({
    keys: options.key.map((path) => readPublicKey(path, nativeVerify)),
    threshold: thresholdOf(options.threshold),
    online: await api.call('onlineKeys'),
    now: systemClock.now(),
    targets: options.replace ? readPins(folderOf(ctx, options)).targets : undefined,
  });
  showOutcome(ctx, await conclude(ceremonyIn(ctx, options), api, parts, options.out, true));
}

function addFolderCommands(keys: Command, ctx: CliContext): void {
  withFolder(keys.command('create'))
    .description('Make a key in this folder; no root names it yet')
    .option('--role <role>', `${OFFLINE_ROLES.join(', ')}; may be given more than once`, collect, [])
    .requiredOption('--name <name>', 'whose it is: a to z, 0 to 9, dashes')
    .action(async (options: FolderOptions & { role: string[]; name: string }) => {
      const token = openKeyFolder(folderOf(ctx, options));
      const roles = rolesOf(options.role, OFFLINE_ROLES);
      const pin = await newPassphrase(sourceOf(options));
      const made = [];
      for (const role of roles) made.push(await token.generate(role, options.name, pin));
      ctx.print(
        made.map(({ name, role, publicKey }) => ({ name, role, publicKey })),
        {
          columns: [
            { title: 'KEY', value: (key) => key.name },
            { title: 'ROLE', value: (key) => key.role },
            { title: 'PUBLIC', value: (key) => key.publicKey },
          ],
        },
      );
      if (pin === undefined) process.stderr.write('No passphrase: whoever reads the file has the key.\n');
    });
  withFolder(keys.command('protect'))
    .description('Put key files under a passphrase, or under another one')
    .argument('[key...]', 'names as `skein keys list` shows them; default: all of the folder')
    .option('--new-passphrase-file <file>', 'its first line; else asked for')
    .action(async (names: string[], options: FolderOptions & { newPassphraseFile?: string }) => {
      const { dir, token, ask } = ceremonyIn(ctx, options);
      const chosen = names.length > 0 ? names : token.find().map(({ name }) => name);
      const old = new Map<string, string | undefined>();
      for (const key of token.find())
        if (chosen.includes(key.name)) old.set(key.name, key.needsPin ? await ask(key) : undefined);
      const source = { file: options.newPassphraseFile, terminal: processTerminal() };
      const passphrase = await newPassphrase(source);
      const rows = chosen.map((name) => protectKey(dir, name, old.get(name), passphrase));
      ctx.print(
        rows.map(({ name, sealed }) => ({ name, sealed })),
        {
          columns: [
            { title: 'KEY', value: (key) => key.name },
            { title: 'PASSPHRASE', value: (key) => (key.sealed ? 'yes' : 'no') },
          ],
        },
      );
    });
  withFolder(keys.command('list'))
    .description('Key files here, who the roots name, and until when everything holds')
    .option('--offline', 'ask no server')
    .action(async (options: FolderOptions & { offline?: boolean }) =>
      listTrust(ctx, folderOf(ctx, options), options.offline === true),
    );
  withFolder(keys.command('export'))
    .description('Write public halves for whoever prepares a root')
    .argument('[key...]', 'names as `skein keys list` shows them, such as root-alice.json')
    .option('-a, --all', 'every key of the folder')
    .option('--to <folder>', 'where <role>-<name>.pub.json goes', '.')
    .action(async (names: string[], options: FolderOptions & { all?: boolean; to: string }) => {
      const { token, ask } = ceremonyIn(ctx, options);
      const chosen = token.find().filter(({ name }) => options.all || names.includes(name));
      if (chosen.length < Math.max(1, names.length)) {
        throw new SkeinError(
          'NOT_FOUND',
          `${token.label} holds ${chosen.length} of the keys that were named`,
          {
            fix: 'See `skein keys list --offline`; give names, or -a for all.',
          },
        );
      }
      const files = [];
      for (const key of chosen) {
        const path = join(options.to, `${key.role}-${holderOf(key)}.pub.json`);
        writeFileSync(path, `${JSON.stringify(await exportPublicKey(token, key, ask), null, 2)}\n`);
        files.push({ file: path, publicKey: key.publicKey });
      }
      ctx.print(files, {
        columns: [
          { title: 'FILE', value: (row) => row.file },
          { title: 'PUBLIC', value: (row) => row.publicKey },
        ],
      });
    });
}

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

function addChanges(keys: Command, ctx: CliContext): void {
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

function addDraftCommands(keys: Command, ctx: CliContext): void {
  const draftArgument = ['<file...>', 'the draft, or copies of it that several holders signed'] as const;
  keys
    .command('show')
    .description('What a draft would change and who has signed it; needs neither key nor server')
    .argument(...draftArgument)
    .action((files: string[]) => {
      const draft = readDrafts(files, reader);
      showOutcome(ctx, {
        published: false,
        file: files[0]!,
        signedBy: [],
        progress: progressOf(draft, reader),
        changes: describeDraft(draft),
      });
    });
  withFolder(keys.command('sign'))
    .description('Sign a draft with every key of this folder that it needs; works without a network')
    .argument(...draftArgument)
    .option('--out <file>', 'default: the first file, in place')
    .option('--replace', 'the roots of the file take the place of those pinned here, whose threshold is lost')
    .action(async (files: string[], options: FolderOptions & { out?: string; replace?: boolean }) => {
      const draft = readDrafts(files, reader);
      for (const line of describeDraft(draft)) process.stderr.write(`${line}\n`);
      const signed = await signDraft(ceremonyIn(ctx, options), draft, options.replace === true);
      const file = options.out ?? files[0]!;
      writeDraft(file, signed.draft);
      const progress = progressOf(signed.draft, reader);
      showOutcome(ctx, { published: false, file, signedBy: signed.signedBy, progress, changes: [] });
    });
  withFolder(keys.command('publish'))
    .description('Upload what enough holders have signed')
    .argument(...draftArgument)
    .option('--replace', 'first roots only: begin anew, every device has to enrol again')
    .action(async (files: string[], options: FolderOptions & { replace?: boolean }) => {
      const api = await ctx.api();
      const draft = readDrafts(files, reader);
      await publish(ceremonyIn(ctx, options), api, draft, options.replace === true);
      showPublished(ctx, describeDraft(draft));
      await warnOfTokens(api);
    });
}

/** @throws SkeinError REQUEST_INVALID */
function rolesOf<T extends string>(given: readonly string[], roles: readonly T[], most = roles.length): T[] {
  const named = [...new Set(given.map((text) => roleNamed(text, roles)))];
  if (named.length >= 1 && named.length <= most) return named;
  throw new SkeinError('REQUEST_INVALID', most === 1 ? 'give one --role' : 'give a --role', {
    fix: `One of: ${roles.join(', ')}.`,
  });
}

/** @throws SkeinError THRESHOLD_INVALID */
function thresholdOf(text: string | undefined): number | undefined {
  if (text === undefined || /^[1-9]\d{0,2}$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new SkeinError(
    'THRESHOLD_INVALID',
    `--threshold takes the number of holders that must sign, not ${JSON.stringify(text)}`,
    {
      fix: 'Give 1 to the number of keys; 0 would let anybody sign.',
    },
  );
}
