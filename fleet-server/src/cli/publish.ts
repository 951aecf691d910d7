/** `skein keys …` and `skein models …`: signing where the operator's offline keys are; the server never sees them. */
import { join } from 'node:path';
import type { ModelView } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Command } from 'commander';
import { nativeVerify, systemClock } from '../system-clock.ts';
import type { CliContext } from './client.ts';
import { initKeys } from './init-keys.ts';
import { listKeys, type OfflineKey } from './key-files.ts';
import { publishBundle } from './publish-bundle.ts';
import { ago, type Column } from './table.ts';

const KEY_COLUMNS: readonly Column<KeyRow>[] = [
  { title: 'KEY', value: (key) => key.name },
  { title: 'ROLE', value: (key) => key.role },
  { title: 'PUBLIC', value: (key) => key.publicKey },
  { title: 'PASSPHRASE', value: (key) => (key.sealed ? 'yes' : 'no') },
];
const MODEL_COLUMNS: readonly Column<ModelView>[] = [
  { title: 'MODEL', value: (model) => `${model.name}@${model.version}` },
  { title: 'RELEASE', value: (model) => model.release, align: 'right' },
  { title: 'FLOOR', value: (model) => model.floor, align: 'right' },
  { title: 'KIB', value: (model) => Math.ceil(model.sizeBytes / 1024), align: 'right' },
  { title: 'DEVICES', value: (model) => model.devices, align: 'right' },
  { title: 'PUBLISHED', value: (model) => ago(model.publishedAt, systemClock.now()) },
  { title: 'STATE', value: (model) => (model.revoked ? 'revoked' : 'published') },
];

type KeyRow = Omit<OfflineKey, 'signer'>;
const rowOf = ({ name, role, publicKey, sealed }: OfflineKey): KeyRow => ({ name, role, publicKey, sealed });
const passphrase = () => process.env.SKEIN_KEY_PASSPHRASE || undefined;
const folderOf = (ctx: CliContext, options: { dir?: string }) => options.dir ?? join(ctx.stateDir, 'keys');

export function addKeysCommands(program: Command, ctx: CliContext): void {
  const keys = program.command('keys').description('Offline keys of the operator: roots and publishing');
  keys
    .command('init')
    .description('Make root and publisher keys here, sign both roots and upload them')
    .option('--dir <folder>', 'where the key files go; default: keys/ beside the operator file')
    .addHelpText(
      'after',
      '\nSKEIN_KEY_PASSPHRASE protects the files. Keep copies of the root keys off this machine.\n',
    )
    .action(async (options: { dir?: string }) => {
      const dir = folderOf(ctx, options);
      const outcome = await initKeys({
        api: await ctx.api(),
        dir,
        passphrase: passphrase(),
        clock: systemClock,
        verify: nativeVerify,
      });
      const rows = outcome.keys.map(rowOf);
      if (ctx.output === 'json') return ctx.print({ changed: outcome.changed, dir, keys: rows });
      ctx.print(rows, { columns: KEY_COLUMNS });
      const said = outcome.changed
        ? 'Both roots are signed and uploaded'
        : 'The server has these roots already';
      process.stderr.write(`${said}. Keys: ${dir}\n`);
    });
  keys
    .command('list')
    .description('Key files in the folder')
    .option('--dir <folder>', 'default: keys/ beside the operator file')
    .action((options: { dir?: string }) =>
      ctx.print(listKeys(folderOf(ctx, options)).map(rowOf), { columns: KEY_COLUMNS }),
    );
}

export function addPublishCommands(program: Command, ctx: CliContext): void {
  const models = program.command('models').description('Published models');
  models
    .command('publish')
    .description('Check a bundle, upload its blobs, sign it into the image repository')
    .argument('<bundle>', 'directory or model.skein, as `skein-model pack` writes it')
    .option('--floor <release>', 'no device that has seen this may run a release below it')
    .option('--dir <folder>', 'folder of the publisher key; default: keys/ beside the operator file')
    .action(async (path: string, options: { floor?: string; dir?: string }) => {
      const published = await publishBundle({
        api: await ctx.api(),
        dir: folderOf(ctx, options),
        passphrase: passphrase(),
        clock: systemClock,
        verify: nativeVerify,
        path,
        ...(options.floor === undefined ? {} : { floor: releaseNumber(options.floor) }),
        ...(process.stderr.isTTY ? { progress: showProgress } : {}),
      });
      ctx.print(published);
    });
  models
    .command('list')
    .description('Published models, newest release first')
    .action(async () => ctx.print(await (await ctx.api()).all('listModels'), { columns: MODEL_COLUMNS }));
  models
    .command('show')
    .description('One model with its manifest')
    .argument('<name@version>')
    .action(async (text: string) => {
      const [name = '', version = ''] = text.split('@');
      ctx.print(await (await ctx.api()).call('showModel', { params: { name, version } }));
    });
}

function releaseNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new SkeinError('REQUEST_INVALID', `--floor takes a release number, not \`${text}\``, {
    fix: 'See the RELEASE column of `skein models list`.',
  });
}

const BAR = 30;

function showProgress(done: number, total: number): void {
  const part = total === 0 ? 1 : done / total;
  const bar = '█'.repeat(Math.round(part * BAR)).padEnd(BAR, '░');
  const end = done === total ? '\n' : '';
  process.stderr.write(`\r${bar} ${Math.round(part * 100)}% of ${Math.ceil(total / 1024)} KiB${end}`);
}
