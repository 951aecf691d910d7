/**
 * `skein-agent selftest`: can this machine run a model, get the answers that it was packed with, and keep them? It walks
 * the same parts as a reading does, from the worker to the sealed batch, with a throw-away identity and outbox.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Variant } from '@skein/protocol/manifest.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { LoadedModel, Tensors } from '../inference/backend.ts';
import { OnnxBackend } from '../inference/onnx-backend.ts';
import { type Bundle, goldenOf } from '../model/bundle.ts';
import { readBundle } from '../model/disk-bundle.ts';
import { goldenDifference, goldenInputs } from '../model/golden.ts';
import type { Outbox } from '../outbox/port.ts';
import { openSqliteOutbox } from '../outbox/sqlite-outbox.ts';
import { postprocess } from '../pipeline/postprocess.ts';
import { nativeSigner, systemClock, systemEntropy } from '../system-clock.ts';

export interface SelftestOptions {
  /** Bundle directory or .skein file. */
  bundle: string;
  /** Existing folder where `selftest.db` is left; absent: a temporary one, removed. */
  dir?: string;
}

/** One variant of the model on this machine. */
export interface VariantOutcome {
  id: string;
  provider: string;
  passed: number;
  total: number;
  largestDifference: number;
  tolerance: number;
}

export interface SelftestOutcome {
  /** Every vector of every variant passed, and every prediction was stored. */
  ok: boolean;
  arch: string;
  node: string;
  model: string;
  variants: VariantOutcome[];
  /** Records that the outbox accepted and bytes of the batch sealed from them. */
  stored: { accepted: number; batchBytes: number };
}

function outboxIn(dir: string): Outbox {
  return openSqliteOutbox({
    fleet: 'selftest',
    device: 'selftest',
    path: join(dir, 'selftest.db'),
    clock: systemClock,
    entropy: systemEntropy,
    signer: nativeSigner(systemEntropy.bytes(32)),
    reserveBytes: 0,
    trouble: (error) => {
      throw error;
    },
  });
}

async function load({ blobs }: Bundle, { file, backend }: Variant, dir: string): Promise<LoadedModel> {
  const path = join(dir, `${file.sha256}.onnx`);
  await writeFile(path, blobs.get(file.sha256)!);
  const { sha256, size: sizeBytes } = file;
  const request = { path, sha256, sizeBytes, threads: 1, providers: ['cpu'], backend };
  try {
    return await new OnnxBackend({ placement: 'worker' }).load(request);
  } finally {
    await rm(path, { force: true });
  }
}

function recordOf({ manifest }: Bundle, inputs: Tensors, outputs: Tensors, micros: number): PredictionRecord {
  const input = inputs[manifest.inputs[0]!.name]!.data as Float32Array;
  const { label, score, alarm } = postprocess(manifest.postprocess, outputs, input);
  const { name: model, version } = manifest;
  const stamp = { ts: systemClock.now(), mono: systemClock.mono(), boot: 'selftest', source: 'golden' };
  return { ...stamp, model, version, label, score, alarm, latency_us: Math.round(micros) };
}

/** Runs every golden vector and appends its prediction. */
async function inferAll(bundle: Bundle, loaded: LoadedModel, outbox: Outbox): Promise<number[]> {
  const differences: number[] = [];
  for (const vector of goldenOf(bundle).vectors) {
    const inputs = goldenInputs(vector, loaded.inputs);
    const started = systemClock.mono();
    const outputs = await loaded.infer(inputs);
    const micros = (systemClock.mono() - started) * 1000;
    differences.push(goldenDifference(vector, outputs));
    outbox.append('predictions', recordOf(bundle, inputs, outputs, micros));
  }
  return differences;
}

async function tryVariant(
  bundle: Bundle,
  variant: Variant,
  outbox: Outbox,
  dir: string,
): Promise<VariantOutcome> {
  const loaded = await load(bundle, variant, dir);
  try {
    const differences = await inferAll(bundle, loaded, outbox);
    const passed = differences.filter((difference) => difference <= variant.tolerance).length;
    const { id, tolerance } = variant;
    const largestDifference = Math.max(...differences);
    return { id, provider: loaded.provider, passed, total: differences.length, largestDifference, tolerance };
  } finally {
    await loaded.close();
  }
}

/** @throws SkeinError of the step that can not be done: BUNDLE_INVALID, MODEL_INVALID, MODEL_CRASHED, DISK_FULL, DISK_FAILED */
export async function selftest({ bundle, dir }: SelftestOptions): Promise<SelftestOutcome> {
  if (dir !== undefined) return selftestIn(bundle, dir);
  const own = await mkdtemp(join(tmpdir(), 'skein-selftest-'));
  try {
    return await selftestIn(bundle, own);
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

async function selftestIn(from: string, dir: string): Promise<SelftestOutcome> {
  const bundle = await readBundle(from);
  const { name, version } = bundle.manifest;
  const outbox = outboxIn(dir);
  try {
    const variants: VariantOutcome[] = [];
    for (const variant of bundle.manifest.variants)
      variants.push(await tryVariant(bundle, variant, outbox, dir));
    const accepted = outbox.commit();
    const batchBytes = outbox.seal('predictions')?.bytes.length ?? 0;
    const total = variants.reduce((sum, each) => sum + each.total, 0);
    const ok = variants.every((each) => each.passed === each.total) && accepted === total && batchBytes > 0;
    const { arch, version: node } = process;
    return { ok, arch, node, model: `${name}@${version}`, variants, stored: { accepted, batchBytes } };
  } finally {
    outbox.close();
  }
}
