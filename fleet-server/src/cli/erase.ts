/** `skein devices erase|erasures`: what will go, a confirmation, progress, and the proof. */
import { setTimeout as after } from 'node:timers/promises';
import type { ErasurePlan, ErasureView } from '@skein/protocol/api.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Command } from 'commander';
import type { ApiClient, CliContext } from './client.ts';
import { confirmByTyping } from './confirm.ts';
import { column } from './table.ts';

const ERASE_HELP = `
Refuses the device for good, throws it off within 5 s, and removes everything at the server that came from it or names
it: batches and their sums, ledger, incidents, faults, drift, update reports, orders, its part in rollouts, enrolment,
retained MQTT messages. What stays: hashes that keep its id and key refused, and the audit log, where it is a pseudonym.
The server goes on by itself, also after a crash; Ctrl-C only ends the watching.

Not removed, because it is not here:
  - backups that were made earlier hold the data until they age out, and bring it back when restored
  - logs of the server and of an external broker, and what webhooks or MQTT readers have taken
  - what is on the device itself: run \`skein-agent erase\` there
With an external broker, let its access rules refuse the device first: the server can not throw it off there.

Examples:
  skein devices erase d-abc123                     shows what goes, and asks for the id
  skein devices erase d-abc123 --plan              only shows it
  skein devices erase d-abc123 --yes -o json > proof.json
  skein devices erasures                           what was erased, by pseudonym; \`skein audit verify\` checks the log
Exit codes: 0 erased and proven, 1 failed, not confirmed or no such device, 2 wrong usage, 3 server unreachable,
4 denied (needs the role admin), 5 begun, but it has to wait: it says for what.
`;
/** As a held rollout: neither done nor failed. */
const WAITS = 5;
const LOOK_EVERY_MS = 200;
/** Of a server that is restarted meanwhile. */
const PATIENCE_MS = 60_000;

interface EraseOptions {
  yes?: boolean;
  plan?: boolean;
}

export function addEraseCommands(devices: Command, ctx: CliContext): void {
  devices
    .command('erase <id>')
    .description('Remove a device’s data everywhere and prove it in the audit log')
    .option('--yes', 'do not ask')
    .option('--plan', 'only show what would go')
    .addHelpText('after', ERASE_HELP)
    .action((id: string, options: EraseOptions) => erase(ctx, id, options));
  devices
    .command('erasures')
    .description('Erasures and their proofs, newest first')
    .action(async () => {
      const rows = await (await ctx.api()).all('listErasures');
      ctx.print<ErasureView>(rows, { columns: ERASURE_COLUMNS });
    });
}

async function erase(ctx: CliContext, id: string, { yes, plan: only }: EraseOptions): Promise<void> {
  const api = await ctx.api();
  const plan = await api.call('planErasure', { params: { id } });
  if (only && ctx.output === 'json') return ctx.print(plan);
  if (ctx.output === 'table') printPlan(ctx, plan);
  if (only) return;
  if (!yes) await confirmByTyping(id, `Type ${id} to erase it for good: `);
  const begun = await api.call('eraseDevice', { params: { id }, body: {} });
  const view = await follow(api, begun);
  if (ctx.output === 'json') ctx.print(view);
  else printProof(ctx, view, id);
  if (view.state !== 'done') process.exitCode = WAITS;
}

const size = (bytes: number): string =>
  bytes < 10_000
    ? `${bytes} B`
    : bytes < 10_000_000
      ? `${(bytes / 1e3).toFixed(1)} kB`
      : `${(bytes / 1e6).toFixed(1)} MB`;

const KIND_COLUMNS = [
  column<ErasurePlan['kinds'][number]>('WHAT', (k) => k.kind),
  column<ErasurePlan['kinds'][number]>('ROWS', (k) => k.rows, 'right'),
  column<ErasurePlan['kinds'][number]>('BYTES', (k) => (k.bytes > 0 ? size(k.bytes) : '–'), 'right'),
];

function printPlan(ctx: CliContext, { device, name, kinds, topics }: ErasurePlan): void {
  ctx.print({ device, name });
  process.stdout.write('\nGoes for good:\n');
  ctx.print(kinds, { columns: KIND_COLUMNS });
  process.stdout.write(`and what is retained on ${topics} MQTT topics.\n\n`);
}

/** Until it is done, or has to wait for something. @throws SkeinError UNREACHABLE when the server stays away */
async function follow(api: ApiClient, begun: ErasureView): Promise<ErasureView> {
  const paint = painter(process.stderr);
  let view = begun;
  let awaySince: number | undefined;
  while (view.state !== 'done' && view.trouble === null) {
    paint(view);
    await after(LOOK_EVERY_MS);
    try {
      view = await api.call('showErasure', { params: { pseudonym: begun.pseudonym } });
      awaySince = undefined;
    } catch (thrown) {
      awaySince ??= Date.now();
      if (asSkeinError(thrown).code !== 'UNREACHABLE' || Date.now() - awaySince > PATIENCE_MS)
        throw goesOn(thrown, begun);
    }
  }
  paint(undefined);
  return view;
}

const goesOn = (thrown: unknown, { pseudonym }: ErasureView): SkeinError => {
  const { code, message } = asSkeinError(thrown);
  return new SkeinError(code, `${message}; erasure ${pseudonym} is begun`, {
    cause: thrown,
    fix: 'It goes on by itself once the server runs: see `skein devices erasures`.',
  });
};

const PHASES: Record<ErasureView['state'], string> = {
  erasing: 'removing rows',
  clearing: 'clearing retained topics',
  searching: 'searching the files',
  done: 'done',
};

/** On a terminal only. */
function painter(output: NodeJS.WriteStream): (view: ErasureView | undefined) => void {
  return (view) => {
    if (!output.isTTY) return;
    const gone = view?.removed.reduce((sum, { rows }) => sum + rows, 0) ?? 0;
    output.write(
      view ? `\r\x1b[K${PHASES[view.state]}: ${gone} of ${Math.max(view.total, gone)} rows` : '\r\x1b[K',
    );
  };
}

function printProof(ctx: CliContext, view: ErasureView, id: string): void {
  const { pseudonym, state, removed, chains, search, auditSeq, trouble } = view;
  process.stdout.write(state === 'done' ? `${id} is erased.\n` : `${id} is refused; its erasure waits.\n`);
  ctx.print({
    pseudonym,
    ...(trouble === null ? {} : { waits: trouble }),
    removed: `${removed.reduce((sum, k) => sum + k.rows, 0)} rows, ${size(removed.reduce((sum, k) => sum + k.bytes, 0))}`,
    ...(chains ? { streams: `${chains.streams} with ${chains.records} records numbered` } : {}),
    ...(chains ? { chains: chains.sha256 } : {}),
    ...(search ? { search: `${search.found} places in ${search.files} files, ${size(search.bytes)}` } : {}),
    ...(auditSeq === null ? {} : { audit: `entry ${auditSeq}; check it with \`skein audit verify\`` }),
  });
  process.stdout.write('\nBackups hold it until they age out. On the device itself: skein-agent erase\n');
}

const ERASURE_COLUMNS = [
  column<ErasureView>('PSEUDONYM', (e) => e.pseudonym),
  column<ErasureView>('STATE', (e) => e.state),
  column<ErasureView>('BY', (e) => e.by),
  column<ErasureView>('BEGUN', (e) => new Date(e.begunAt).toISOString()),
  column<ErasureView>('ROWS', (e) => e.removed.reduce((sum, { rows }) => sum + rows, 0), 'right'),
  column<ErasureView>('FOUND AFTERWARDS', (e) => e.search?.found ?? '–', 'right'),
  column<ErasureView>('AUDIT', (e) => e.auditSeq ?? '–', 'right'),
  column<ErasureView>('WAITS FOR', (e) => e.trouble ?? ''),
];
