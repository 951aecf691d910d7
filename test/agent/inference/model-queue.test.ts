import type { LoadedModel, Tensors } from '@skein/agent/inference/backend.ts';
import { ModelQueue, type QueueOptions, type QueueStatistics } from '@skein/agent/inference/model-queue.ts';
import { checkInputs } from '@skein/agent/inference/tensors.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { describe, expect, it } from 'vitest';
import { manualClock } from '../manual-clock.ts';

const row = (value: number, rows = 1): Tensors => ({
  x: { type: 'float32', dims: [rows, 2], data: new Float32Array(rows * 2).fill(value) },
});
const firstOf = (outputs: Tensors): number => (outputs.y!.data as Float32Array)[0]!;

/** y = 2x, when the test says so. Values of 666 make a run fail. */
function manualModel() {
  const runs: Tensors[] = [];
  const finish: (() => void)[] = [];
  let closed = false;
  const model: LoadedModel = {
    sha256: '',
    provider: 'test',
    placement: 'worker',
    reason: '',
    inputs: [{ name: 'x', type: 'float32', shape: [-1, -1] }],
    outputs: [{ name: 'y', type: 'float32', shape: [-1, -1] }],
    async infer(inputs) {
      checkInputs(inputs, model.inputs);
      runs.push(inputs);
      await new Promise<void>((resolve) => finish.push(resolve));
      const { type, dims, data } = inputs.x!;
      if ((data as Float32Array).includes(666)) throw new SkeinError('MODEL_CRASHED', 'a bad request');
      return { y: { type, dims, data: (data as Float32Array).map((value) => 2 * value) } };
    },
    close: async () => {
      closed = true;
    },
  };
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return {
    model,
    runs,
    rowsOfRuns: () => runs.map(({ x }) => x!.dims[0]),
    isClosed: () => closed,
    async finishRun() {
      const [done] = finish.splice(0, 1);
      done!();
      await turn();
    },
    async finishAll() {
      while (finish.length > 0) {
        for (const done of finish.splice(0)) done();
        await turn();
      }
    },
  };
}

function setup(options: Partial<QueueOptions> = {}, manual = manualModel()) {
  const clock = manualClock();
  const counted: [string, number][] = [];
  const statistics: QueueStatistics = {
    requestSucceeded: (_request, rows) => counted.push(['succeeded', rows]),
    requestFailed: () => counted.push(['failed', 1]),
    executed: ({ batchSize }) => counted.push(['executed', batchSize]),
  };
  const queue = new ModelQueue(manual.model, {
    ...{ clock, limit: 64, maxBatch: 8, timeoutMs: 1_000, statistics },
    ...options,
  });
  const ask = (value: number, priority: 'live' | 'api' | 'shadow' = 'api', timeoutMs?: number) =>
    queue.submit({ inputs: row(value), priority, timeoutMs });
  return { ...manual, clock, counted, queue, ask };
}

describe('a model’s queue', () => {
  it('runs a request at once when the model is idle', () => {
    const { ask, runs } = setup();
    void ask(1);
    expect(runs).toHaveLength(1);
  });

  it('runs all that waited as one batch when the model becomes free, and gives each its own rows', async () => {
    const { ask, finishAll, queue, rowsOfRuns, counted } = setup();
    const answers = [ask(1), ask(2), queue.submit({ inputs: row(3, 4), priority: 'api' }), ask(4)];
    await finishAll();
    const outputs = (await Promise.all(answers)).map((answer) => answer.outputs);
    expect(outputs.map(firstOf)).toEqual([2, 4, 6, 8]);
    expect(outputs.map(({ y }) => y!.dims)).toEqual([
      [1, 2],
      [1, 2],
      [4, 2],
      [1, 2],
    ]);
    expect(rowsOfRuns()).toEqual([1, 6]);
    expect(counted).toContainEqual(['executed', 6]);
    expect(counted.filter(([what]) => what === 'succeeded')).toHaveLength(4);
  });

  it('keeps a batch within its bound; a request larger than it runs alone', async () => {
    const { ask, finishAll, queue, rowsOfRuns } = setup({ maxBatch: 4 });
    const answers = Array.from({ length: 10 }, (_, i) => ask(i));
    const large = queue.submit({ inputs: row(7, 20), priority: 'api' });
    await finishAll();
    await Promise.all(answers);
    expect((await large).outputs.y!.dims).toEqual([20, 2]);
    expect(rowsOfRuns()).toEqual([1, 4, 4, 1, 20]);
  });

  it('never mixes requests that differ beyond the first dimension', async () => {
    const { ask, finishAll, queue, runs } = setup();
    const wide: Tensors = { x: { type: 'float32', dims: [1, 3], data: Float32Array.of(5, 5, 5) } };
    const answers = [ask(1), ask(2), queue.submit({ inputs: wide, priority: 'api' }), ask(3)];
    await finishAll();
    expect((await Promise.all(answers)).map(({ outputs }) => firstOf(outputs))).toEqual([2, 4, 10, 6]);
    expect(runs.map(({ x }) => x!.dims)).toEqual([
      [1, 2],
      [2, 2],
      [1, 3],
    ]);
  });

  it('runs each request alone when batching is off', async () => {
    const { ask, finishAll, rowsOfRuns } = setup({ maxBatch: 1 });
    const answers = [ask(1), ask(2), ask(3)];
    await finishAll();
    await Promise.all(answers);
    expect(rowsOfRuns()).toEqual([1, 1, 1]);
  });

  it('takes live readings before requests of the API, and those before comparisons', async () => {
    const { ask, finishAll, runs } = setup({ maxBatch: 1 });
    const answers = [ask(1), ask(2, 'shadow'), ask(3, 'api'), ask(4, 'live'), ask(5, 'live')];
    await finishAll();
    await Promise.all(answers);
    expect(runs.map(({ x }) => x!.data[0])).toEqual([1, 4, 5, 3, 2]);
  });

  it('refuses what finds no room, but lets a live reading take the place of the youngest API request', async () => {
    const { ask, finishAll } = setup({ limit: 2 });
    const running = ask(0);
    const first = ask(1);
    const second = ask(2);
    await expect(ask(3)).rejects.toMatchObject({
      code: 'OVERLOADED',
      message: '2 requests are waiting already',
    });
    const live = ask(4, 'live');
    await expect(second).rejects.toMatchObject({
      code: 'OVERLOADED',
      message: 'a live reading took its place',
    });
    const another = ask(5, 'live');
    await expect(first).rejects.toMatchObject({ code: 'OVERLOADED' });
    await expect(ask(6, 'live')).rejects.toMatchObject({ code: 'OVERLOADED' });
    await finishAll();
    expect((await Promise.all([running, live, another])).map((a) => firstOf(a.outputs))).toEqual([0, 8, 10]);
  });

  it('never runs a request whose time ran out while it waited', async () => {
    const { ask, clock, finishAll, runs } = setup();
    const running = ask(1);
    const late = expect(ask(2, 'api', 50)).rejects.toMatchObject({
      code: 'MODEL_TIMEOUT',
      message: expect.stringContaining('was not run'),
    });
    await clock.advance(60);
    await late;
    await finishAll();
    await running;
    expect(runs).toHaveLength(1);
  });

  it('tells a caller when its time is up while the run goes on for the others', async () => {
    const { queue, clock, finishAll, counted } = setup();
    const outcomes: unknown[] = [];
    const late = queue.submit({
      inputs: row(1),
      priority: 'api',
      timeoutMs: 50,
      ran: (outcome) => outcomes.push(outcome),
    });
    await clock.advance(51);
    await expect(late).rejects.toMatchObject({ code: 'MODEL_TIMEOUT', message: 'no answer within 50 ms' });
    expect(counted).toEqual([['failed', 1]]);
    await finishAll();
    expect(outcomes).toHaveLength(1);
    expect(outcomes[0]).toMatchObject({ totalUs: 51_000 });
  });

  it('counts the time in the queue from arrival', async () => {
    const { ask, clock, finishAll, finishRun } = setup();
    const first = ask(1);
    const second = ask(2);
    await clock.advance(7);
    await finishRun();
    await clock.advance(5);
    await finishAll();
    expect(await first).toMatchObject({ queueUs: 0, inferUs: 7_000, totalUs: 7_000 });
    expect(await second).toMatchObject({ queueUs: 7_000, inferUs: 5_000, totalUs: 12_000 });
  });

  it('tries a failed batch again one by one, so that only the bad request fails', async () => {
    const { ask, finishAll, rowsOfRuns } = setup();
    const answers = [ask(1), ask(2), ask(666), ask(3)];
    const settled = Promise.allSettled(answers);
    await finishAll();
    const outcomes = await settled;
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(rowsOfRuns()).toEqual([1, 3, 1, 1, 1]);
  });

  it('stops batching a graph that does not give a row for a row', async () => {
    const { ask, finishAll, model, rowsOfRuns } = setup();
    const whole = model.infer;
    model.infer = async (inputs) => {
      const { y } = await whole(inputs);
      const [, width = 0] = y!.dims;
      return { y: { ...y!, dims: [1, width], data: (y!.data as Float32Array).slice(0, width) } };
    };
    const answers = [ask(1), ask(2), ask(3)];
    await finishAll();
    expect((await Promise.all(answers)).map((answer) => firstOf(answer.outputs))).toEqual([2, 4, 6]);
    const later = [ask(4), ask(5), ask(6)];
    await finishAll();
    await Promise.all(later);
    expect(rowsOfRuns()).toEqual([1, 2, 1, 1, 1, 1, 1]);
  });

  it('tells who waited longer than allowed, though the answer is heard of before the timer', async () => {
    const manual = manualModel();
    const { ask, clock } = setup({}, manual);
    const late = ask(1, 'api', 5).catch((error: SkeinError) => error.code);
    clock.mono = () => 6;
    await manual.finishRun();
    expect(await late).toBe('MODEL_TIMEOUT');
  });

  it('keeps as many runs under way as its model can do together, and no more', async () => {
    const manual = manualModel();
    const { queue, runs, ask } = setup(
      { maxBatch: 1 },
      { ...manual, model: { ...manual.model, parallel: 3 } },
    );
    const answers = [1, 2, 3, 4, 5].map((value) => ask(value).then(({ outputs }) => firstOf(outputs)));
    expect(runs).toHaveLength(3);
    await manual.finishRun();
    expect(runs).toHaveLength(4);
    const closing = queue.close();
    await manual.finishAll();
    expect(await Promise.all(answers)).toEqual([2, 4, 6, 8, 10]);
    await closing;
    expect(manual.isClosed()).toBe(true);
  });

  it('gathers what arrives in one turn where a run holds the thread', async () => {
    const { ask, finishAll, model, rowsOfRuns } = setup();
    let turn: () => void = () => undefined;
    Object.assign(model, { gather: (task: () => void) => (turn = task) });
    const answers = [ask(1), ask(2), ask(3)];
    expect(rowsOfRuns()).toEqual([]);
    turn();
    await finishAll();
    await Promise.all(answers);
    expect(rowsOfRuns()).toEqual([3]);
  });

  it('answers everything that it has taken before it closes the model', async () => {
    const { ask, finishRun, isClosed, queue } = setup({ maxBatch: 1 });
    const answers = [ask(1), ask(2)];
    const closed = queue.close();
    await finishRun();
    expect(isClosed()).toBe(false);
    await finishRun();
    await closed;
    expect(isClosed()).toBe(true);
    await Promise.all(answers);
  });
});
