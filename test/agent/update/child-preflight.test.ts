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
import { startSidecar } from '../../contracts/sidecar-process.ts';
import { scaleModel } from '../inference/models.ts';
import { json, scriptedServer } from '../inference/scripted-server.ts';
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
    const verdict = await childPreflight({ childPath, wallLimitMs: 2_500 }).run(
      await stage(scaleModel(2, 3)),
    );
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

/** A release whose one variant is of a sidecar. */
async function stageOn(backend: string): Promise<StagedModel> {
  const staged = await stage(scaleModel(2, 3));
  const variant = { ...staged.variant, backend };
  return { ...staged, variant, manifest: { ...staged.manifest, variants: [variant] } };
}

describe('preflight of a sidecar’s variant', () => {
  it('is computed by the sidecar, whose hash is compared and whose name is given', async () => {
    const sidecar = await startSidecar(`unix:${join(directory, 'a.sock')}`);
    try {
      const backends = [{ name: 'acc', url: sidecar.url }];
      const staged = await stageOn('acc');
      expect(await childPreflight({ backends }).run(staged)).toMatchObject({
        ...{ ok: true, loaded: staged.variant.file.sha256, proof: 'sidecar', environment: false },
        golden: { passed: 2, total: 2 },
      });
    } finally {
      await sidecar.kill();
    }
  });

  it.each([
    ['that is not there', [{ name: 'acc', url: 'unix:/nonexistent/a.sock' }]],
    ['that nobody configured', []],
  ])('%s is this machine’s fault', async (_title, backends) => {
    expect(await childPreflight({ backends }).run(await stageOn('acc'))).toMatchObject({
      ...{ ok: false, code: 'BACKEND_UNAVAILABLE', environment: true },
    });
  });

  it('lets a backend compile outside the wall limit, and says so; within a limit of its own', {
    timeout: 60_000,
  }, async () => {
    const staged = await stageOn('acc');
    const server = await scriptedServer(staged.variant.file.sha256);
    try {
      server.on.load = json(202, { state: 'COMPILING', progress: 0.3 });
      const backends = [{ name: 'acc', url: server.url }];
      const told: unknown[] = [];
      const limits = { wallLimitMs: 8_000, compileLimitMs: 60_000 };
      const running = childPreflight({ backends, ...limits }).run(staged, undefined, (share) => {
        told.push(share);
        setTimeout(() => {
          server.on.load = json(400, { error: 'x', code: 'MODEL_INVALID' });
        }, 8_500);
      });
      expect(await running).toMatchObject({ ok: false, code: 'MODEL_INVALID' });
      expect(told).toEqual([0.3]);
      server.on.load = json(202, { state: 'COMPILING' });
      const never = childPreflight({ backends, wallLimitMs: 30_000, compileLimitMs: 500 }).run(staged);
      expect(await never).toMatchObject({ ok: false, code: null, environment: true });
    } finally {
      await server.close();
    }
  });
});

describe('measuring in a child', () => {
  it('runs variants in turns, a sidecar’s too, and gives the median of each', async () => {
    const sidecar = await startSidecar('127.0.0.1:0');
    try {
      const backends = [{ name: 'acc', url: sidecar.url }];
      const own = await stage(scaleModel(2, 3));
      const other = { ...(await stageOn('acc')), variant: { ...(await stageOn('acc')).variant, id: 'acc' } };
      const measured = await childPreflight({ backends }).measure!([own, other]);
      expect(measured).toMatchObject({ figures: [{ variant: 'fp32' }, { variant: 'acc' }] });
      const [first, second] = (measured as { figures: { medianUs: number }[] }).figures;
      expect(first!.medianUs).toBeGreaterThan(0);
      expect(second!.medianUs).toBeGreaterThan(first!.medianUs);
    } finally {
      await sidecar.kill();
    }
  });

  it('says why there are no figures', async () => {
    const childPath = await childThat("process.kill(process.pid, 'SIGSEGV'); setInterval(() => {}, 1000);");
    const own = await stage(scaleModel(2, 3));
    expect(await childPreflight({ childPath }).measure!([own, own])).toMatchObject({
      failed: expect.stringContaining('SIGSEGV'),
    });
    const gone = { ...own, modelPath: join(directory, 'nothing') };
    expect(await childPreflight().measure!([own, gone])).toMatchObject({
      failed: expect.stringContaining('nothing'),
    });
  });
});
