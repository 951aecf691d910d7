/** A real child process with the real runtime on models made on the spot. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { childPreflight } from '@skein/agent/update/child-preflight.ts';
import type { StagedModel } from '@skein/agent/update/ports.ts';
import type { GoldenVectors } from '@skein/protocol/manifest.ts';
import { MIB } from '@skein/protocol/units.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scaleModel } from '../inference/models.ts';
import { manifestFor } from './manifest.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skein-preflight-'));
});
afterAll(() => rm(directory, { recursive: true }));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const vectorOf = (x: number[], y: number[]): GoldenVectors['vectors'][number] => ({
  inputs: { x: { shape: [1, x.length], data: x } },
  outputs: { y: { shape: [1, y.length], data: y } },
});
const golden: GoldenVectors = { format: 1, vectors: [vectorOf([1, 2], [3, 6]), vectorOf([0, -1], [0, -3])] };

async function stage(model: Uint8Array, vectors = golden): Promise<StagedModel> {
  const goldenBytes = Buffer.from(JSON.stringify(vectors));
  const manifest = manifestFor(
    '1.0.0',
    { sha256: sha256(model), size: model.length },
    {
      sha256: sha256(goldenBytes),
      size: goldenBytes.length,
    },
  );
  const modelPath = join(directory, sha256(model));
  const goldenPath = join(directory, sha256(goldenBytes));
  await writeFile(modelPath, model);
  await writeFile(goldenPath, goldenBytes);
  return { manifest, manifestSha256: 'c'.repeat(64), variant: manifest.variants[0]!, modelPath, goldenPath };
}

/** A child that does what a model may do to its process, once it said that it is ready. */
async function childThat(does: string): Promise<string> {
  const path = join(directory, `${sha256(Buffer.from(does)).slice(0, 12)}.mjs`);
  await writeFile(path, `process.stdout.write('{"stage":"ready"}\\n');\n${does}\n`);
  return path;
}

describe('preflight in a child', () => {
  it('passes a model whose answers are the golden ones, and says which bytes it loaded', async () => {
    const staged = await stage(scaleModel(2, 3));
    expect(await childPreflight().run(staged)).toEqual({
      ok: true,
      code: null,
      detail: null,
      loaded: staged.variant.file.sha256,
      golden: { passed: 2, total: 2 },
      environment: false,
    });
  });

  it('refuses other answers, and names the first vector that differs', async () => {
    const verdict = await childPreflight().run(await stage(scaleModel(2, 3.5)));
    expect(verdict).toMatchObject({
      ok: false,
      code: 'GOLDEN_MISMATCH',
      golden: { passed: 0, total: 2 },
      environment: false,
    });
    expect(verdict.detail).toMatch(/vector 1 of 2.*`y` differs by 1/);
  });

  it('refuses NaN', async () => {
    const verdict = await childPreflight().run(await stage(scaleModel(2, Number.NaN)));
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_OUTPUT_NOT_FINITE', environment: false });
  });

  it('refuses a file that is no model', async () => {
    const verdict = await childPreflight().run(await stage(Buffer.from('not a model at all')));
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_INVALID', loaded: null, environment: false });
  });

  it('holds bytes that changed on this disk against the disk', async () => {
    const staged = await stage(scaleModel(2, 3));
    const other = join(directory, 'changed');
    await writeFile(other, scaleModel(2, 4));
    const verdict = await childPreflight().run({ ...staged, modelPath: other });
    expect(verdict).toMatchObject({ ok: false, code: 'BLOB_MISMATCH', environment: true });
  });

  it('refuses golden vectors that do not fit the model', async () => {
    const odd = { ...golden, vectors: [{ ...golden.vectors[0]!, inputs: { z: { shape: [1], data: [1] } } }] };
    const verdict = await childPreflight().run(await stage(scaleModel(2, 3), odd));
    expect(verdict).toMatchObject({ ok: false, code: 'BUNDLE_INVALID', environment: false });
  });

  it('survives a model that crashes the process', async () => {
    const childPath = await childThat("process.kill(process.pid, 'SIGSEGV'); setInterval(() => {}, 1000);");
    const verdict = await childPreflight({ childPath }).run(await stage(scaleModel(2, 3)));
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_CRASHED', environment: false });
    expect(verdict.detail).toMatch(/while loading.*SIGSEGV/);
  });

  it('ends a model that hangs', async () => {
    const childPath = await childThat('for (;;) {}');
    const verdict = await childPreflight({ childPath, wallLimitMs: 700 }).run(await stage(scaleModel(2, 3)));
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_TIMEOUT', environment: false });
  });

  it('ends a model that takes more memory than it may', async () => {
    const childPath = await childThat(
      'const held = []; setInterval(() => held.push(Buffer.alloc(8 << 20, 1)), 5);',
    );
    const verdict = await childPreflight({ childPath, baseMemoryBytes: 120 * MIB }).run(
      await stage(scaleModel(2, 3)),
    );
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_MEMORY', environment: false });
    expect(verdict.detail).toMatch(/MiB resident, 120 MiB allowed/);
  });

  it('ends a child that talks without end', async () => {
    const childPath = await childThat("setInterval(() => process.stdout.write('x'.repeat(65536)), 1);");
    const verdict = await childPreflight({ childPath }).run(await stage(scaleModel(2, 3)));
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_CRASHED' });
  });

  it('believes no verdict that is not one', async () => {
    const childPath = await childThat(
      'process.stdout.write(\'{"stage":"verdict","verdict":{"ok":true}}\\n\');',
    );
    const verdict = await childPreflight({ childPath }).run(await stage(scaleModel(2, 3)));
    expect(verdict).toMatchObject({ ok: false, code: 'MODEL_CRASHED' });
  });

  it('is this machine’s fault when the child never gets ready', async () => {
    const verdict = await childPreflight({ childPath: join(directory, 'nothing.mjs') }).run(
      await stage(scaleModel(2, 3)),
    );
    expect(verdict).toMatchObject({ ok: false, code: null, environment: true });
  });

  it('ends when the agent stops, without a word against the model', async () => {
    const childPath = await childThat('setInterval(() => {}, 1000);');
    const stop = new AbortController();
    const verdict = childPreflight({ childPath }).run(await stage(scaleModel(2, 3)), stop.signal);
    stop.abort();
    expect(await verdict).toMatchObject({ ok: false, code: null, environment: true });
  });
});
