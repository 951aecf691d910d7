/** `skein keys show|sign|publish`: a draft on its way from holder to holder. */
import type { Command } from 'commander';
import { progressOf } from '../keys/draft-signing.ts';
import { describeDraft } from '../keys/review.ts';
import { publish, readDrafts, signDraft, writeDraft } from './ceremony.ts';
import type { CliContext } from './client.ts';
import { ceremonyIn, type FolderOptions, reader, withFolder } from './keys-options.ts';
import { showOutcome, showPublished, warnOfTokens } from './signing-words.ts';

export function addDraftCommands(keys: Command, ctx: CliContext): void {
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
