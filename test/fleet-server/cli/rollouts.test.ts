import type { CliContext } from '@skein/fleet-server/cli/client.ts';
import { addRolloutCommands } from '@skein/fleet-server/cli/rollouts.ts';
import { stageLines, watchRollout } from '@skein/fleet-server/cli/watch.ts';
import { stepRollout } from '@skein/fleet-server/rollouts/machine.ts';
import { viewOf } from '@skein/fleet-server/rollouts/view.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { Command } from 'commander';
import { afterEach, describe, expect, it } from 'vitest';
import { inStage, newRollout, report, START } from '../rollouts/example.ts';

const first = newRollout().state;
const device = inStage(first, 0)[0]!;
const committed = stepRollout(first, { type: 'report', device, report: report('committed') }, START).state;

/** A context whose server answers from `answers` and remembers what it was asked. */
function fakeContext(answers: Record<string, unknown>, events: { type: string; data: unknown }[] = []) {
  const asked: [string, unknown][] = [];
  const printed: unknown[] = [];
  const call = async (route: string, given: unknown) => {
    asked.push([route, given]);
    const answer = answers[route];
    return Array.isArray(answer) && answer.length > 1
      ? answer.shift()
      : Array.isArray(answer)
        ? answer[0]
        : answer;
  };
  const api = {
    url: 'http://test',
    call,
    all: async (route: string) => answers[route],
    async *events() {
      yield* events;
      await new Promise(() => {});
    },
  };
  const ctx = {
    api: async () => api,
    print: (data: unknown) => printed.push(data),
    output: 'json',
    stateDir: '',
  };
  return { ctx: ctx as unknown as CliContext, api: api as never, asked, printed };
}

async function skein(ctx: CliContext, ...words: string[]): Promise<void> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addRolloutCommands(program, ctx);
  await program.parseAsync(words, { from: 'user' });
}

afterEach(() => {
  process.exitCode = 0;
});

describe('skein rollouts create', () => {
  it('passes on how fast, and how urgently, devices are to fetch it', async () => {
    const { ctx, asked } = fakeContext({ createRollout: viewOf(first, 0) });
    const model = ['rollouts', 'create', '--model', 'host@1.1.0', '--yes'];
    await skein(ctx, ...model, '--rate', '256KiB', '--urgent');
    await skein(ctx, ...model);
    const transfers = asked.map(([, given]) => (given as { body: { transfer?: unknown } }).body.transfer);
    expect(transfers).toEqual([{ rate: 262_144, urgent: true }, undefined]);
    await expect(skein(ctx, ...model, '--rate', '1KiB')).rejects.toThrow(/from 4KiB on/);
  });

  it('asks for what was said, with defaults for the rest', async () => {
    const { ctx, asked, printed } = fakeContext({ createRollout: viewOf(first, 0) });
    await skein(
      ctx,
      'rollouts',
      'create',
      '--model',
      'host@1.1.0',
      '--group',
      'lab',
      '--stages',
      '1, 100%',
      '--soak',
      '5s',
      '--yes',
    );
    expect(asked).toEqual([
      [
        'createRollout',
        {
          body: {
            model: 'host',
            version: '1.1.0',
            group: 'lab',
            stages: ['1', '100%'],
            soakMs: 5_000,
            stageDeadlineMs: 600_000,
            onInconclusive: 'hold',
            maxFailures: 0,
            approval: 'none',
            probation: {
              minInferences: 20,
              minMs: 10_000,
              deadlineMs: 600_000,
              maxErrorRate: 0.01,
              maxLatencyRatio: 4,
            },
            freshWithinMs: 600_000,
          },
        },
      ],
    ]);
    expect(printed).toEqual([viewOf(first, 0)]);
  });

  it.each([
    ['--soak', '5'],
    ['--soak', '5 weeks'],
    ['--probation-inferences', 'many'],
  ])('refuses %s %s before it asks the server', async (option, value) => {
    const { ctx, asked } = fakeContext({});
    await expect(skein(ctx, 'rollouts', 'create', '--model', 'a@1.0.0', option, value)).rejects.toThrow(
      /Write a/,
    );
    expect(asked).toEqual([]);
  });

  it('says how a model is written', async () => {
    const { ctx } = fakeContext({});
    await expect(skein(ctx, 'rollouts', 'create', '--model', 'host')).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      fix: expect.stringContaining('NAME@VERSION'),
    });
  });
});

describe('skein rollouts', () => {
  it.each(['pause', 'resume', 'abort', 'approve', 'rollback'])('%s asks the server to', async (action) => {
    const { ctx, asked } = fakeContext({ steerRollout: viewOf(first, 0) });
    await skein(ctx, 'rollouts', action, 'r-one');
    expect(asked).toEqual([['steerRollout', { params: { id: 'r-one', action }, body: {} }]]);
  });

  it('watch follows changes to the end and ends with the code of the outcome', async () => {
    const halted: RolloutView = { ...viewOf(committed, 4), state: 'halted', why: 'halted: it harms' };
    const events = [
      { type: 'state', data: {} },
      { type: 'rollout', data: { ...viewOf(committed, 2), id: 'r-other' } },
      { type: 'rollout', data: viewOf(committed, 3) },
      { type: 'rollout', data: viewOf(first, 1) },
      { type: 'rollout', data: halted },
    ];
    const { ctx, printed } = fakeContext({ showRollout: viewOf(first, 1) }, events);
    await skein(ctx, 'rollouts', 'watch', 'r-one');
    expect(printed).toEqual([halted]);
    expect(process.exitCode).toBe(1);
  });

  it('watch follows the newest when none is named, and tells held apart from failed and unreachable', async () => {
    const waiting = committed.targets.map((t) => ({ ...t, state: 'committed' as const }));
    const held = { ...viewOf(committed, 1), id: 'r-new', state: 'held' as const, targets: waiting };
    const { ctx, asked } = fakeContext({
      listRollouts: { items: [held, viewOf(first, 0)], next: null },
      showRollout: held,
    });
    await skein(ctx, 'rollouts', 'watch');
    expect(asked).toContainEqual(['showRollout', { params: { id: 'r-new' } }]);
    expect(process.exitCode).toBe(5);
    const none = fakeContext({ listRollouts: { items: [], next: null } });
    await expect(skein(none.ctx, 'rollouts', 'watch')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      fix: expect.stringContaining('rollouts create'),
    });
  });

  it('watch prints one line a change where there is no terminal', async () => {
    const done: RolloutView = {
      ...viewOf(committed, 3),
      state: 'done',
      why: 'done: 4 of 4 devices proved it',
    };
    const { api } = fakeContext({ showRollout: viewOf(first, 1) }, [
      { type: 'rollout', data: viewOf(first, 2) },
      { type: 'rollout', data: done },
    ]);
    const lines: string[] = [];
    await watchRollout(api, 'r-one', { live: false, write: (text) => lines.push(text), columns: 80 });
    expect(lines).toEqual([
      `running: stage 1 of 2: waits for ${device} until 2026-01-01T00:10:00Z [1 ordered, 3 waiting]\n`,
      'done: done: 4 of 4 devices proved it [1 committed, 3 waiting]\n',
    ]);
  });

  it('paints a bar for each stage', () => {
    expect(stageLines(viewOf(committed, 3), 100)).toEqual([
      'r-one  host@1.1.0 → all  running',
      '▸ stage 1   ████████████████████████ 1/1',
      '  stage 2   ························ 0/3',
      '  stage 1 of 2: soaks until 2026-01-01T00:00:30Z',
    ]);
  });
});

describe('skein why', () => {
  it('explains a rollout and a device in one line', async () => {
    const { ctx, printed } = fakeContext({ listRollouts: [viewOf(committed, 3)] });
    await skein(ctx, 'why', 'r-one');
    await skein(ctx, 'why', device);
    expect(printed).toEqual([
      { subject: 'r-one', why: 'r-one (host@1.1.0): stage 1 of 2: soaks until 2026-01-01T00:00:30Z' },
      { subject: device, why: expect.stringContaining('proved the version') },
    ]);
  });

  it('says so when no rollout has reached for a device', async () => {
    const { ctx, printed } = fakeContext({ listRollouts: [], showDevice: { id: 'd-x', model: null } });
    await skein(ctx, 'why', 'd-x');
    expect(printed).toEqual([
      { subject: 'd-x', why: 'd-x: no rollout has reached for it; it runs no model' },
    ]);
  });
});
