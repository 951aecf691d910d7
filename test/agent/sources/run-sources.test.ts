import type { Manifest } from '@skein/protocol/manifest.ts';
import type { EventMessage } from '@skein/protocol/messages.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';
import { openIncidents } from '../../../agent/src/health/incidents.ts';
import type { Backend } from '../../../agent/src/inference/backend.ts';
import { Engine } from '../../../agent/src/inference/engine.ts';
import type { Source, SourceHandlers } from '../../../agent/src/sources/port.ts';
import { runSources } from '../../../agent/src/sources/run-sources.ts';
import { systemEntropy } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';

const tensor = (name: string) => ({ name, type: 'float32' as const, shape: [1, 1] });
const manifest = {
  name: 'm',
  version: '1.0.0',
  inputs: [tensor('x')],
  outputs: [tensor('y')],
  preprocess: {
    kind: 'features',
    features: ['a'],
    window: { size: 1, stride: 1, padding: 'edge' },
    onMissing: 'reject',
  },
  postprocess: { kind: 'regress', output: 'y', low: null, high: 100 },
  drift: null,
} as unknown as Manifest;

function scene() {
  const clock = manualClock();
  let broken = false;
  const backend: Backend = {
    name: 'doubling',
    load: async ({ sha256 }) => ({
      sha256,
      provider: 'cpu',
      placement: 'inline',
      reason: '',
      inputs: manifest.inputs,
      outputs: manifest.outputs,
      async infer(inputs) {
        if (broken) throw new Error('the runtime broke');
        const [value = 0] = inputs.x!.data as Float32Array;
        return { y: { type: 'float32', dims: [1, 1], data: Float32Array.of(2 * value) } };
      },
      close: async () => {},
    }),
  };
  const engine = new Engine({ backend, clock });
  const events: EventMessage[] = [];
  const records: PredictionRecord[] = [];
  let handlers: SourceHandlers | undefined;
  const source: Source = {
    name: 'probe',
    stallAfterMs: 600_000,
    start: (given) => (handlers = given),
    stop: async () => {},
  };
  const lines: string[] = [];
  const say = (message: string) => void lines.push(message);
  const running = runSources([{ kind: 'host', model: 'm', source }], {
    engine,
    boot: 'b',
    clock,
    log: { info: say, warn: say, error: say },
    incidents: openIncidents(clock, systemEntropy, { load: () => [], save: () => {} }, (event) =>
      events.push(event),
    ),
    onPrediction: (record) => records.push(record),
    onDrift: () => {},
  });
  running.start();
  const read = async (a: number) => {
    handlers!.reading({ ts: clock.now(), mono: clock.mono(), source: 'probe', values: { a } });
    await clock.advance(1_000);
  };
  const variant = { id: 'fp32', file: { sha256: 'f'.repeat(64), size: 1 }, tolerance: 0 };
  const activate = () =>
    engine.activate({
      manifest,
      manifestSha256: 'e'.repeat(64),
      variant,
      modelPath: '',
      goldenPath: '',
    } as never);
  return {
    activate,
    clock,
    events,
    handlers: () => handlers!,
    lines,
    read,
    records,
    running,
    break: (on: boolean) => (broken = on),
  };
}

describe('running sources', () => {
  it('wait for a model: readings before it are counted and not predicted', async () => {
    const run = scene();
    await run.read(1);
    expect(run.records).toEqual([]);
    expect(run.running.sources()[0]).toMatchObject({ state: 'delivering', readings: 1 });
    await run.activate();
    await run.read(21);
    expect(run.records).toEqual([
      expect.objectContaining({ source: 'probe', model: 'm', score: 42, alarm: 0 }),
    ]);
    expect(run.running.pipelines()[0]).toMatchObject({ readings: 1, predictions: 1 });
    expect(run.events).toEqual([]);
  });

  it('make one incident of a failing model, ended by predictions after half a minute of calm', async () => {
    const run = scene();
    await run.activate();
    run.break(true);
    for (let i = 0; i < 5; i += 1) await run.read(i);
    run.break(false);
    for (let i = 0; i < 29; i += 1) await run.read(i);
    expect(run.events.map((e) => e.type)).toEqual(['new']);
    for (let i = 0; i < 3; i += 1) await run.read(i);
    expect(run.events.map((e) => [e.type, e.after.code, e.after.source])).toEqual([
      ['new', 'MODEL_FAILING', 'm'],
      ['end', 'MODEL_FAILING', 'm'],
    ]);
    expect(run.running.pipelines()[0]!.failures).toBe(5);
    expect(run.lines.filter((line) => /runtime broke/.test(line))).toHaveLength(1);
  });

  it('make an incident of readings that are not finite and go on', async () => {
    const run = scene();
    await run.activate();
    await run.read(Number.NaN);
    await run.read(Number.POSITIVE_INFINITY);
    await run.read(4);
    expect(run.events.map((e) => e.after.code)).toEqual(['INPUT_NOT_FINITE']);
    expect(run.records).toHaveLength(1);
  });

  it('deliver nothing after they were stopped', async () => {
    const run = scene();
    await run.activate();
    await run.read(1);
    await run.running.stop();
    await run.read(2);
    expect(run.records).toHaveLength(1);
    expect(run.running.sources()[0]!.state).toBe('stopped');
  });
});
