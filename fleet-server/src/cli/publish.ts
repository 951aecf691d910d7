/** `skein models`: signing where the key is, on this machine or, by a draft, on another. */
import type { ModelView } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import type { Targets } from '@skein/protocol/trust/metadata.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import type { Command } from 'commander';
import type { Draft } from '../keys/draft-checks.ts';
import { progressOf } from '../keys/draft-signing.ts';
import { describeDraft } from '../keys/review.ts';
import { nativeVerify, systemClock } from '../system-clock.ts';
import { withBundle } from './bundle-files.ts';
import { publish, readDrafts, signDraft, writeDraft } from './ceremony.ts';
import type { CliContext } from './client.ts';
import { askerOf, ceremonyIn, type FolderOptions, folderOf, withFolder } from './keys-options.ts';
import { publishBundle, revokeModel } from './publish-bundle.ts';
import { showOutcome, showPublished } from './signing-words.ts';
import { ago, type Column } from './table.ts';

const MODEL_COLUMNS: readonly Column<ModelView>[] = [
  { title: 'MODEL', value: (model) => `${model.name}@${model.version}` },
  { title: 'RELEASE', value: (model) => model.release, align: 'right' },
  { title: 'FLOOR', value: (model) => model.floor, align: 'right' },
  { title: 'KIB', value: (model) => Math.ceil(model.sizeBytes / 1024), align: 'right' },
  { title: 'DEVICES', value: (model) => model.devices, align: 'right' },
  { title: 'PUBLISHED', value: (model) => ago(model.publishedAt, systemClock.now()) },
  { title: 'STATE', value: (model) => (model.revoked ? 'revoked' : 'published') },
];

const reader = ed25519Keys(nativeVerify);
const OUT = [
  '--out <file>',
  'write a draft for other holders instead of failing when the keys here are not enough',
] as const;
const PREPARE = ['--prepare', 'sign nothing here, only write the draft'] as const;

interface SignFlags extends FolderOptions {
  out?: string;
  prepare?: boolean;
}

const optionsOf = async (ctx: CliContext, flags: SignFlags) => ({
  api: await ctx.api(),
  dir: folderOf(ctx, flags),
  ask: askerOf(flags),
  clock: systemClock,
  verify: nativeVerify,
  out: flags.out ?? (flags.prepare ? 'image-targets.draft.json' : undefined),
  onlyPrepare: flags.prepare === true,
});

const EXAMPLES = `
Examples:
  skein models publish bundle                         check, upload, sign here
  skein models publish bundle --prepare               upload, and write image-targets.draft.json for the key's holder
  skein models sign image-targets.draft.json --bundle bundle    on the machine with the key; no network
  skein models publish image-targets.draft.json       upload what was signed there
  skein models revoke gas@1.2.0 --reason "wrong labels"          devices leave it and go back
`;

export function addPublishCommands(models: Command, ctx: CliContext): void {
  models.addHelpText('after', EXAMPLES);
  withFolder(models.command('publish'))
    .description('Check a bundle, upload its blobs, sign it into the image repository')
    .argument(
      '<bundle>',
      'directory or model.skein, as `skein-model pack` writes it; or a draft that was signed elsewhere',
    )
    .option('--floor <release>', 'no device that has seen this may run a release below it')
    .option(...OUT)
    .option(...PREPARE)
    .action(async (path: string, options: SignFlags & { floor?: string }) => {
      if (path.endsWith('.draft.json')) return publishSigned(ctx, options, path);
      const published = await publishBundle({
        ...(await optionsOf(ctx, options)),
        path,
        ...(options.floor === undefined ? {} : { floor: releaseNumber(options.floor) }),
        ...(process.stderr.isTTY ? { progress: showProgress } : {}),
      });
      ctx.print(published);
      if (published.draft)
        process.stderr.write(`Next, where the key is: skein models sign ${published.draft}\n`);
    });
  withFolder(models.command('sign'))
    .description('Sign a draft of published or revoked models; works without a network')
    .argument('<file...>', 'the draft, or copies of it that several holders signed')
    .option('--bundle <path>', 'the bundle itself: refuse unless the draft names exactly its bytes')
    .option('--out <file>', 'default: the first file, in place')
    .action(async (files: string[], options: SignFlags & { bundle?: string }) => {
      const draft = readDrafts(files, reader);
      for (const line of describeDraft(draft)) process.stderr.write(`${line}\n`);
      if (options.bundle) await requireBundle(draft, options.bundle);
      const signed = await signDraft(ceremonyIn(ctx, options), draft);
      const file = options.out ?? files[0]!;
      writeDraft(file, signed.draft);
      const progress = progressOf(signed.draft, reader);
      showOutcome(ctx, { published: false, file, signedBy: signed.signedBy, progress, changes: [] });
    });
  withFolder(models.command('revoke'))
    .description(
      'Withdraw a version: devices refuse it, and those that run it go back to one that is not revoked',
    )
    .argument('<name@version>')
    .option('--reason <text>', 'signed along; people and devices can read it', '')
    .option(...OUT)
    .option(...PREPARE)
    .action(async (text: string, options: SignFlags & { reason: string }) => {
      const { reason } = options;
      const outcome = await revokeModel({ ...(await optionsOf(ctx, options)), ...modelNamed(text), reason });
      showOutcome(ctx, outcome);
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
      const { model: name, version } = modelNamed(text);
      ctx.print(await (await ctx.api()).call('showModel', { params: { name, version } }));
    });
}

async function publishSigned(ctx: CliContext, options: SignFlags, path: string): Promise<void> {
  const draft = readDrafts([path], reader);
  await publish(ceremonyIn(ctx, options), await ctx.api(), draft);
  showPublished(ctx, describeDraft(draft));
}

/** @throws SkeinError BLOB_MISMATCH, and as reading a bundle */
const requireBundle = (draft: Draft, path: string): Promise<void> =>
  withBundle(path, async ({ manifest, manifestRef }) => {
    const document = draft.documents.find(({ kind }) => kind === 'image-targets');
    const listed = Object.entries((document?.signed as Targets | undefined)?.targets ?? {});
    const same = listed.some(([target, file]) => {
      const model = readModelTarget(target, file);
      const named = model?.model === manifest.name && model.version === manifest.version;
      return named && file.hashes.sha256 === manifestRef.sha256 && file.length === manifestRef.size;
    });
    if (same) return;
    const name = `${manifest.name}@${manifest.version}`;
    throw new SkeinError('BLOB_MISMATCH', `the draft does not name the bytes of ${name} in ${path}`, {
      fix: 'Sign nothing of it: it is another bundle, or the draft was made from other bytes.',
    });
  });

/** @throws SkeinError REQUEST_INVALID */
function modelNamed(text: string): { model: string; version: string } {
  const at = text.lastIndexOf('@');
  if (at > 0 && at < text.length - 1) return { model: text.slice(0, at), version: text.slice(at + 1) };
  throw new SkeinError('REQUEST_INVALID', `${JSON.stringify(text)} is not name@version`, {
    fix: 'See `skein models list`.',
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
