import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type PredictOptions, runPredict } from '@skein/agent/model/run-predict.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { batchModels, scaleModel } from '../inference/models.ts';

const HOST = fileURLToPath(new URL('../../../models/host/bundle', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'skein-predict-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const write = (name: string, data: string | Uint8Array) => {
  writeFileSync(join(dir, name), data);
  return join(dir, name);
};
const model = write('scale.onnx', scaleModel(3, 2));

async function predict(
  path: string,
  files: string[],
  options: Partial<PredictOptions> = {},
  stopAfter = Number.POSITIVE_INFINITY,
) {
  const stop = new AbortController();
  let text = '';
  let lines = 0;
  const summary = await runPredict(
    path,
    files,
    { batch: 1, threads: 1, format: 'jsonl', strict: false, top: 0, softmax: false, ...options },
    {
      async write(part) {
        text += part;
        lines += part === '' ? 0 : 1;
        if (lines >= stopAfter) stop.abort();
      },
      progress: () => undefined,
      signal: stop.signal,
    },
  );
  const rows =
    options.format === 'csv'
      ? []
      : text
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line));
  return { text, rows, summary };
}

describe('predict', () => {
  const data = write('data.csv', 'a,b,c\n1,2,3\n4,five,6\n7,8\n9,8,7\n');

  it('writes a line for each sample, also for those that fail, and goes on', async () => {
    const { rows, summary } = await predict(model, [data]);
    expect(rows).toEqual([
      { sample: 0, where: 'data.csv line 2', outputs: { y: [2, 4, 6] } },
      expect.objectContaining({ sample: 1, error: 'SOURCE_INVALID' }),
      expect.objectContaining({ sample: 2, error: 'SOURCE_INVALID' }),
      { sample: 3, where: 'data.csv line 5', outputs: { y: [18, 16, 14] } },
    ]);
    expect(summary).toMatchObject({ predicted: 2, failed: 2 });
    expect(summary.problems[0]).toContain('data.csv line 3: column `b` holds “five”');
  });

  it('stops at the first that fails when it is strict', async () => {
    await expect(predict(model, [data], { strict: true })).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
  });

  it('answers the same in batches, in the same order', async () => {
    const rows = Array.from({ length: 50 }, (_, i) => `${i},${i * 2},${i === 20 ? 'x' : -i}`);
    const many = write('many.csv', `a,b,c\n${rows.join('\n')}\n`);
    const [one, eight] = [await predict(model, [many]), await predict(model, [many], { batch: 8 })];
    expect(eight.rows).toEqual(one.rows);
    expect(eight.summary).toEqual(one.summary);
  });

  it('never batches a model whose answers depend on the samples beside it', async () => {
    const mean = write('mean.onnx', batchModels.meanOfBatch());
    const { rows, summary } = await predict(mean, [write('m.csv', '1,2,3,4\n5,6,7,8\n')], { batch: 8 });
    expect(rows.map(({ outputs }) => outputs.y)).toEqual([
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ]);
    expect(summary.notes).toEqual([expect.stringContaining('depends on the rows beside it')]);
  });

  it('ranks classes by name, and counts those that are right', async () => {
    const known = write('known.csv', 'a,b,c,label\n1,2,3,cow\n5,1,0,cat\n0,9,1,cat\n');
    const { rows, summary } = await predict(model, [known], { labels: ['cat', 'dog', 'cow'], top: 2 });
    expect(rows[0]).toEqual({
      sample: 0,
      where: 'known.csv line 2',
      label: 'cow',
      score: 6,
      top: [
        { label: 'cow', score: 6 },
        { label: 'dog', score: 4 },
      ],
      truth: 'cow',
    });
    expect(summary.accuracy).toBeCloseTo(2 / 3);
  });

  it('writes CSV with quoted cells and one column a value', async () => {
    const { text } = await predict(model, [data], { format: 'csv' });
    const [header, first, second] = text.split('\n');
    expect(header).toBe('sample,where,y[0],y[1],y[2],truth,error,message');
    expect(first).toBe('0,data.csv line 2,2,4,6,,,');
    expect(second).toContain('1,data.csv line 3,,,,,SOURCE_INVALID,');
  });

  it('writes the columns of predictions even when the first samples fail', async () => {
    const late = write('late.csv', 'a,b,c\nx,1,1\n1,2,3\n');
    const { text } = await predict(model, [late], { format: 'csv' });
    expect(text.split('\n').slice(0, 2)).toEqual([
      'sample,where,y[0],y[1],y[2],truth,error,message',
      expect.stringContaining('0,late.csv line 2,,,,,SOURCE_INVALID'),
    ]);
  });

  it('stops after the batch that runs when it is told to', async () => {
    const { summary } = await predict(model, [data], {}, 1);
    expect(summary).toMatchObject({ predicted: 1, stopped: true });
  });

  it('predicts with a bundle as the device does, and refuses data that lack its features', async () => {
    await expect(predict(HOST, [data])).rejects.toThrow(/no column cpu_user.*there are a, b, c/);
    await expect(predict(HOST, [data], { variant: 'tiny' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      fix: 'It has int8, fp32.',
    });
  });

  it('says where values stop being finite', async () => {
    const huge = write('huge.csv', '1e38,1e38,3e38\n1,1,1\n');
    const { rows, summary } = await predict(model, [huge], { batch: 4 });
    expect(rows.map((row) => row.error)).toEqual(['MODEL_OUTPUT_NOT_FINITE', undefined]);
    expect(summary.failed).toBe(1);
  });
});
