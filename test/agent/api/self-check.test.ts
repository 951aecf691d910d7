import { describe, expect, it } from 'vitest';
import { selfCheck } from '../../../agent/src/api/self-check.ts';
import type { CurrentModel } from '../../../agent/src/inference/engine.ts';
import { manualClock } from '../manual-clock.ts';

const golden = (pairs: [number, number][]) =>
  new TextEncoder().encode(
    JSON.stringify({
      format: 1,
      vectors: pairs.map(([x, y]) => ({
        inputs: { x: { shape: [1], data: [x] } },
        outputs: { y: { shape: [1], data: [y] } },
      })),
    }),
  );

const model = (hash: string) =>
  ({
    manifest: { name: 'double', golden: { sha256: hash, size: 1 } },
    manifestSha256: hash,
    variant: { tolerance: 0.01 },
    loaded: { inputs: [{ name: 'x', type: 'float32', shape: [1] }] },
  }) as unknown as CurrentModel;

describe('the golden self-inference', () => {
  const scene = (blobs: Record<string, Uint8Array>, running: () => CurrentModel[]) => {
    const clock = manualClock();
    const asked: number[] = [];
    let factor = 2;
    const check = selfCheck({
      clock,
      models: running,
      async infer(_name, inputs) {
        const value = (inputs.x!.data as Float32Array)[0]!;
        asked.push(value);
        return { outputs: { y: { type: 'float32', dims: [1], data: Float32Array.of(value * factor) } } };
      },
      async read(sha256) {
        const bytes = blobs[sha256];
        if (!bytes) throw new Error('gone');
        return bytes;
      },
    });
    check.start();
    return { clock, asked, check, break: () => (factor = 3) };
  };

  it('asks the next vector every 30 s and notices when the model begins to answer wrongly', async () => {
    const one = model('1');
    const run = scene(
      {
        1: golden([
          [1, 2],
          [5, 10],
        ]),
      },
      () => [one],
    );
    expect(run.check.result(one)).toBeNull();
    await run.clock.advance(10);
    expect(run.check.result(one)).toMatchObject({ ok: true });
    run.break();
    await run.clock.advance(29_000);
    expect(run.check.result(one)).toMatchObject({ ok: true });
    await run.clock.advance(2_000);
    expect(run.check.result(one)).toMatchObject({ ok: false, detail: expect.stringMatching(/differs by/) });
    expect(run.asked).toEqual([1, 5]);
    run.check.stop();
  });

  it('tries a swapped model within a second, and is not ready when its vectors cannot be read', async () => {
    let now = model('1');
    const run = scene({ 1: golden([[1, 2]]) }, () => [now]);
    await run.clock.advance(10);
    now = model('2');
    expect(run.check.result(now)).toBeNull();
    await run.clock.advance(1_000);
    expect(run.check.result(now)).toMatchObject({ ok: false, detail: 'gone' });
    run.check.stop();
    await run.clock.advance(100_000);
    expect(run.clock.pendingTimers()).toBe(0);
  });
});
