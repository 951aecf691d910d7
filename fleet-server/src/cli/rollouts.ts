/** `skein rollouts …` and `skein why`: start, watch and steer rollouts. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import type { Command } from 'commander';
import { STEER_ACTIONS } from '../rollouts/rollout.ts';
import { whyDevice } from '../rollouts/why.ts';
import type { CliContext } from './client.ts';
import { addRolloutCreate } from './rollout-create.ts';
import { ago } from './table.ts';
import { watchRollout } from './watch.ts';

export function addRolloutCommands(program: Command, ctx: CliContext): void {
  const rollouts = program.command('rollouts').description('roll models out, stage by stage');
  addRolloutCreate(rollouts, ctx, (view, follow) => created(ctx, view, follow));
  rollouts
    .command('list')
    .description('rollouts, newest first')
    .action(async () => {
      const items = await (await ctx.api()).all('listRollouts');
      ctx.print(items, { columns: COLUMNS });
    });
  rollouts
    .command('show <rollout>')
    .description('one rollout with its devices')
    .action(async (id: string) => {
      const view = await (await ctx.api()).call('showRollout', { params: { id } });
      if (ctx.output === 'json') return ctx.print(view);
      ctx.print([view], { columns: COLUMNS });
      ctx.print(view.targets, { columns: TARGET_COLUMNS });
    });
  rollouts
    .command('watch [rollout]')
    .description('follow one live, the newest when none is named; exit code 0: done, 1: stopped, 5: held')
    .action(async (id: string | undefined) => watch(ctx, id ?? (await newestRollout(ctx))));
  for (const action of STEER_ACTIONS) {
    rollouts
      .command(`${action} <rollout>`)
      .description(ACTION_TEXT[action])
      .action(async (id: string) => {
        const view = await (await ctx.api()).call('steerRollout', { params: { id, action }, body: {} });
        ctx.print(ctx.output === 'json' ? view : summaryOf(view));
      });
  }
  program
    .command('why <device-or-rollout>')
    .description('explain in one line what it waits for')
    .action(async (what: string) => why(ctx, what));
}

const ACTION_TEXT: Record<(typeof STEER_ACTIONS)[number], string> = {
  pause: 'order no further devices',
  resume: 'go on after a pause, or wait once more when held',
  abort: 'stop; devices that proved the version keep it',
  approve: 'go on to the next stage although it is held',
  rollback: 'stop; every device goes back to the version before',
};

/** @throws SkeinError NOT_FOUND */
async function newestRollout(ctx: CliContext): Promise<string> {
  const { items } = await (await ctx.api()).call('listRollouts');
  if (items[0]) return items[0].id;
  throw new SkeinError('NOT_FOUND', 'there is no rollout to watch', {
    fix: 'Start one: skein rollouts create --model NAME@VERSION.',
  });
}

async function created(ctx: CliContext, view: RolloutView, follow: boolean): Promise<void> {
  if (follow) return watch(ctx, view.id);
  if (ctx.output === 'json') return ctx.print(view);
  ctx.print(summaryOf(view));
  process.stdout.write(`\nFollow it with: skein rollouts watch ${view.id}\n`);
}

async function watch(ctx: CliContext, id: string): Promise<void> {
  const live = ctx.output === 'table' && process.stdout.isTTY;
  const view = await watchRollout(await ctx.api(), id, {
    live,
    write: (text) => process.stdout.write(ctx.output === 'table' ? text : ''),
    columns: process.stdout.columns ?? 80,
  });
  if (ctx.output === 'json') ctx.print(view);
  process.exitCode = EXIT_CODES[view.state] ?? 0;
}

/** Beside the codes that every command has (see skein.ts): one that waits for a person is neither done nor failed. */
const EXIT_CODES: Partial<Record<RolloutView['state'], number>> = {
  halted: 1,
  aborted: 1,
  'rolled-back': 1,
  held: 5,
};

async function why(ctx: CliContext, what: string): Promise<void> {
  const views = await (await ctx.api()).all('listRollouts');
  const rollout = views.find((view) => view.id === what);
  const lines = rollout
    ? [`${rollout.id} (${rollout.spec.model}@${rollout.spec.version}): ${rollout.why}`]
    : views.flatMap((view) => whyDevice(view, what) ?? []).slice(0, 1);
  if (lines.length === 0) {
    const known = await (await ctx.api()).call('showDevice', { params: { id: what } });
    lines.push(`${known.id}: no rollout has reached for it; it runs ${known.model ?? 'no model'}`);
  }
  ctx.print(ctx.output === 'json' ? { subject: what, why: lines[0] } : { why: lines[0] });
}

const summaryOf = (view: RolloutView) => ({
  rollout: view.id,
  model: `${view.spec.model}@${view.spec.version}`,
  state: view.state,
  why: view.why,
});

const COLUMNS = [
  { title: 'ROLLOUT', value: (r: RolloutView) => r.id },
  { title: 'MODEL', value: (r: RolloutView) => `${r.spec.model}@${r.spec.version}` },
  { title: 'GROUP', value: (r: RolloutView) => r.spec.group },
  { title: 'STATE', value: (r: RolloutView) => r.state },
  { title: 'PROVED', value: (r: RolloutView) => `${r.counts.committed ?? 0}/${r.targets.length}` },
  { title: 'WHY', value: (r: RolloutView) => r.why },
];

type TargetView = RolloutView['targets'][number];
const TARGET_COLUMNS = [
  { title: 'DEVICE', value: (t: TargetView) => t.device },
  { title: 'STAGE', value: (t: TargetView) => (t.control ? 'control' : t.stage + 1) },
  { title: 'STATE', value: (t: TargetView) => t.state },
  { title: 'SINCE', value: (t: TargetView) => ago(t.updatedAt, Date.now()) },
  { title: 'REASON', value: (t: TargetView) => t.reason ?? '' },
];
