import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { readBundle } from '@skein/agent/model/disk-bundle.ts';
import { runVerify } from '@skein/agent/model/run-verify.ts';
import { createPipeline } from '@skein/agent/pipeline/run-pipeline.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { summariseDrift } from '@skein/protocol/drift/summary.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packGas, readGasBatch } from '../../scripts/pack-gas.ts';

const DATA = fileURLToPath(new URL('../../../shared/data', import.meta.url));
const present = existsSync(DATA);
const dir = mkdtempSync(join(tmpdir(), 'skein-gas-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe.skipIf(!present)('the gas recording of ../shared/data (skipped without that folder)', () => {
  beforeAll(() => packGas(DATA, dir));

  /** Feeds one month through the device's own walk. */
  async function replay(batch: number) {
    const { manifest, manifestSha256 } = await readBundle(dir);
    const engine = new Engine({ backend: new OnnxBackend({ placement: 'inline' }), clock: systemClock });
    const variant = manifest.variants[0]!;
    const pathOf = (sha: string) => join(dir, 'blobs', sha);
    const goldenPath = pathOf(manifest.golden.sha256);
    await engine.activate({
      manifest,
      manifestSha256,
      variant,
      modelPath: pathOf(variant.file.sha256),
      goldenPath,
    });
    const drifts: DriftRecord[] = [];
    const labels: string[] = [];
    const pipeline = createPipeline({
      engine,
      model: 'gas',
      boot: 'b',
      onPrediction: ({ record }) => labels.push(record.label),
      onDrift: (record) => drifts.push(record),
      onProblem: ({ message }) => expect.unreachable(message),
    });
    const table = await readGasBatch(DATA, batch);
    for (const [i, row] of table.rows.entries()) {
      const values = Object.fromEntries(table.columns!.map((name, c) => [name, row[c]!]));
      await pipeline.reading({ ts: i, mono: i, source: 'gas', values });
    }
    await engine.close();
    const right = labels.filter((label, i) => label === table.truth![i]).length;
    return {
      accuracy: right / labels.length,
      drifts,
      profile: manifest.drift!,
      precision: variant.precision,
    };
  }

  it('packs into a bundle whose variants reproduce its golden vectors', async () => {
    const checks = (await runVerify(dir, { now: 0 })).filter(({ check }) => check === 'golden');
    expect(checks.map(({ subject, ok }) => [subject, ok])).toEqual([
      ['variant int8', true],
      ['variant fp32', true],
    ]);
  });

  it('is recognised in int8 in the months that the model was trained on', async () => {
    const { accuracy, precision } = await replay(2);
    expect(precision).toBe('int8');
    expect(accuracy).toBeGreaterThanOrEqual(0.99);
  });

  it('drifts in later months, which costs accuracy and is reported', async () => {
    const { accuracy, drifts, profile } = await replay(3);
    expect(accuracy).toBeLessThan(0.9);
    const summary = summariseDrift(profile, drifts);
    expect(summary.verdict).toBe('drift');
    expect(summary.features.filter(({ verdict }) => verdict === 'drift').length).toBeGreaterThan(5);
  });
});
