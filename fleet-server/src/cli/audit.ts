/** `skein audit list|verify`. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Command } from 'commander';
import type { CliContext } from './client.ts';
import { column } from './table.ts';

const VERIFY_HELP = `
Recomputes the hash chain at the server. Note the head somewhere else: whoever could write the log anew could not make
it end in that hash again.
Examples:
  skein audit verify
  skein audit verify -o json | jq -r .head
Exit codes: 0 it holds, 1 it does not, 3 server unreachable, 4 denied.
`;

export function addAuditCommands(program: Command, ctx: CliContext): void {
  const audit = program.command('audit').description('Who changed what');
  audit
    .command('list', { isDefault: true })
    .description('entries, newest first; a device that was erased is shown by its pseudonym')
    .option('--limit <n>', 'entries', '50')
    .action(async ({ limit }: { limit: string }) => {
      const { items } = await (await ctx.api()).call('audit', { query: { limit: Number(limit) } });
      ctx.print(items, {
        columns: [
          column('SEQ', (e) => e.seq, 'right'),
          column('WHEN', (e) => new Date(e.at).toISOString()),
          column('WHO', (e) => e.actor),
          column('WHAT', (e) => e.action),
          column('ON', (e) => e.subject),
          column('HASH', (e) => e.hash.slice(0, 12)),
        ],
      });
    });
  audit
    .command('verify')
    .description('whether every entry is as it was written and none is missing')
    .addHelpText('after', VERIFY_HELP)
    .action(() => verify(ctx));
}

/** @throws SkeinError CONFLICT when the log does not hold */
async function verify(ctx: CliContext): Promise<void> {
  const verdict = await (await ctx.api()).call('verifyAudit');
  const { holds, entries, head, broken } = verdict;
  if (ctx.output === 'json') ctx.print(verdict);
  else if (holds) ctx.print({ holds: 'yes', entries, head });
  if (broken === null) return;
  throw new SkeinError('CONFLICT', `entry ${broken.seq} of the audit log does not hold: ${broken.why}`, {
    fix: `The ${entries} before it hold. Compare with a backup, and with heads that were noted elsewhere.`,
  });
}
