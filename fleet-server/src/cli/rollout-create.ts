/** `skein rollouts create`: its options, their defaults and the question before it starts. */
import type { BodyOf } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { MINUTE, type Millis, parseDuration, SECOND } from '@skein/protocol/units.ts';
import { type Command, InvalidArgumentError } from 'commander';
import type { CliContext } from './client.ts';

interface CreateOptions {
  model: string;
  group: string;
  stages: string;
  soak: Millis;
  probationInferences: number;
  probationTime: Millis;
  probationDeadline: Millis;
  maxErrorRate: number;
  maxLatencyRatio: number;
  deadline: Millis;
  onInconclusive: 'hold' | 'advance';
  maxFailures: number;
  approval?: boolean;
  freshWithin: Millis;
  stale?: boolean;
  rate?: number;
  urgent?: boolean;
  watch?: boolean;
  yes?: boolean;
}

const duration = (text: string): Millis => {
  const millis = parseDuration(text);
  if (millis === undefined) throw new InvalidArgumentError('Write a duration as 30s, 10m or 2h.');
  return millis;
};
const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('Write a number.');
  return value;
};

const RATES: Record<string, number> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
const rate = (text: string): number => {
  const [, amount, unit = 'B'] = /^(\d{1,9}(?:\.\d{1,3})?)(B|KiB|MiB|GiB)?$/.exec(text) ?? [];
  const bytes = amount === undefined ? 0 : Math.round(Number(amount) * RATES[unit]!);
  if (bytes < 4096) throw new InvalidArgumentError('Write a size from 4KiB on, such as 256KiB or 2MiB.');
  return bytes;
};

/** @param created shows or follows what was started */
export function addRolloutCreate(
  rollouts: Command,
  ctx: CliContext,
  created: (view: RolloutView, watch: boolean) => Promise<void>,
): void {
  rollouts
    .command('create')
    .description('start a rollout')
    .requiredOption('--model <name@version>', 'what to roll out')
    .option('--group <group>', 'which devices', 'all')
    .option('--stages <list>', 'cumulative: devices or percent', '1,10%,100%')
    .option('--soak <duration>', 'how long a finished stage is watched', duration, 30 * SECOND)
    .option('--deadline <duration>', 'how long a stage may take', duration, 10 * MINUTE)
    .option('--probation-inferences <n>', 'inferences that prove the model on a device', number, 20)
    .option('--probation-time <duration>', 'least time in probation', duration, 10 * SECOND)
    .option(
      '--probation-deadline <duration>',
      'with fewer inferences by then it stays, unproven',
      duration,
      10 * MINUTE,
    )
    .option('--max-error-rate <share>', 'failed inferences tolerated', number, 0.01)
    .option('--max-latency-ratio <times>', 'p95 tolerated, times that of the model before', number, 4)
    .option('--max-failures <n>', 'devices that may refuse or revert before it halts', number, 0)
    .option('--on-inconclusive <what>', 'hold | advance when a stage proves nothing', 'hold')
    .option('--approval', 'a person approves each stage')
    .option(
      '--fresh-within <duration>',
      'a device activates only on orders refreshed within',
      duration,
      10 * MINUTE,
    )
    .option('--stale', 'devices may activate on orders of any age')
    .option('--rate <size>', 'bytes a second that each device downloads at most, such as 256KiB', rate)
    .option('--urgent', 'do not wait for maintenance windows, nor for a link that is not metered')
    .option('--watch', 'follow it until it ends')
    .option('--yes', 'do not ask')
    .action(async (options: CreateOptions) => {
      const body = specOf(options);
      if (!options.yes && process.stdin.isTTY && ctx.output === 'table') await confirm(body);
      const view = await (await ctx.api()).call('createRollout', { body });
      await created(view, options.watch === true);
    });
}

/** @throws SkeinError REQUEST_INVALID */
function specOf(options: CreateOptions): BodyOf<'createRollout'> {
  const [model, version, ...rest] = options.model.split('@');
  if (!model || !version || rest.length > 0) {
    throw new SkeinError('REQUEST_INVALID', `--model ${options.model}`, {
      fix: 'Write NAME@VERSION, as `skein models list` does.',
    });
  }
  return {
    model,
    version,
    group: options.group,
    stages: options.stages.split(',').map((stage) => stage.trim()),
    soakMs: options.soak,
    stageDeadlineMs: options.deadline,
    onInconclusive: options.onInconclusive,
    maxFailures: options.maxFailures,
    approval: options.approval ? 'each-stage' : 'none',
    probation: {
      minInferences: options.probationInferences,
      minMs: options.probationTime,
      deadlineMs: options.probationDeadline,
      maxErrorRate: options.maxErrorRate,
      maxLatencyRatio: options.maxLatencyRatio,
    },
    freshWithinMs: options.stale ? null : options.freshWithin,
    ...transferOf(options),
  };
}

const transferOf = ({ rate: most, urgent }: CreateOptions): Pick<BodyOf<'createRollout'>, 'transfer'> =>
  most === undefined && !urgent
    ? {}
    : { transfer: { ...(most === undefined ? {} : { rate: most }), ...(urgent ? { urgent } : {}) } };

async function confirm(body: BodyOf<'createRollout'>): Promise<void> {
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(
    `Roll ${body.model}@${body.version} out to ${body.group} in stages ${body.stages.join(', ')}? [y/N] `,
  );
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim()))
    throw new SkeinError('CONFLICT', 'nothing was started', { fix: 'Answer y, or pass --yes.' });
}
