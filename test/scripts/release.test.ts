import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { architectureOf } from '../../scripts/release/architectures.ts';
import { describeSize, sizesOf } from '../../scripts/release/budgets.ts';
import type { BuiltPackage } from '../../scripts/release/build-package.ts';
import { bundleAgent } from '../../scripts/release/bundle.ts';
import { fetchTarball } from '../../scripts/release/npm-package.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-release-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function place(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

describe('the bundle', () => {
  const app = () => join(root, 'app');
  const sources = {
    'protocol/src/shared.ts': 'export const shared = (): string => "shared";',
    'agent/src/model/cli.ts':
      'import { shared } from "../../../protocol/src/shared.ts"; console.log(shared());',
    'agent/src/main.ts': `#!/usr/bin/env node
      import { shared } from '../../protocol/src/shared.ts';
      import { keepCompiled } from './start/keep.ts';
      import('./cli/run.ts').then(({ run }) => run(shared())).then(keepCompiled);`,
    ...Object.fromEntries(
      ['keep.ts', 'main.ts', 'node-kept.ts', 'node-scripts.ts'].map((name) => [
        `agent/src/start/${name}`,
        readFileSync(join(import.meta.dirname, '../../agent/src/start', name), 'utf8'),
      ]),
    ),
    'agent/src/cli/run.ts': `import { startWorker } from '../inference/backend.ts';
      export const run = (said: string) => startWorker(said);`,
    'agent/src/inference/backend.ts': `import { Worker } from 'node:worker_threads';
      import { shared } from '../../../protocol/src/shared.ts';
      export const startWorker = (said: string) =>
        new Worker(new URL('./worker.ts', import.meta.url)).on('message', (m) => console.log(m, said, shared()));`,
    'agent/src/inference/worker.ts': `import { parentPort } from 'node:worker_threads';
      import { shared } from '../../../protocol/src/shared.ts';
      parentPort!.postMessage('from the worker: ' + shared());`,
  };

  const runDaemon = (env: NodeJS.ProcessEnv = {}) => {
    writeFileSync(join(app(), 'package.json'), '{ "type": "module" }');
    return execFileSync(process.execPath, [join(app(), 'skein-agent.cjs')], { encoding: 'utf8', env });
  };

  it('makes a program of every worker that the sources name, and the name still finds it', async () => {
    place(sources);
    await bundleAgent(root, app());
    expect(readdirSync(app())).toEqual(
      expect.arrayContaining(['skein-agent.cjs', 'skein-model.js', 'inference-worker.js']),
    );
    expect(runDaemon()).toBe('from the worker: shared shared shared\n');
  });

  it('keeps what was compiled of the daemon where the service has a cache', async () => {
    place(sources);
    await bundleAgent(root, app());
    const CACHE_DIRECTORY = join(root, 'cache');
    for (let start = 0; start < 2; start++)
      expect(runDaemon({ CACHE_DIRECTORY })).toBe('from the worker: shared shared shared\n');
    expect(readdirSync(join(CACHE_DIRECTORY, 'scripts'))).toEqual(
      readdirSync(app()).filter((name) => name.endsWith('.cjs') && name !== 'skein-agent.cjs'),
    );
  });

  it('refuses code that looks for files beside its source', async () => {
    place({ ...sources, 'agent/src/cli/run.ts': 'console.log(import.meta.dirname);' });
    await expect(bundleAgent(root, app())).rejects.toThrow(/agent\/src\/cli\/run\.ts uses import\.meta/);
  });
});

describe('a package that npm brings', () => {
  const bytes = 'the locked bytes';
  const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
  const npm = process.env.npm_execpath;

  /** An npm that packs `text` and counts how often it was asked. */
  function registryWith(text: string): () => number {
    const calls = join(root, 'calls');
    place({
      'package-lock.json': JSON.stringify({
        packages: { 'node_modules/some-runtime': { version: '1.2.3', integrity } },
      }),
      'npm.js': `const { appendFileSync, writeFileSync } = require('node:fs');
        appendFileSync(${JSON.stringify(calls)}, 'x');
        const folder = process.argv[process.argv.indexOf('--pack-destination') + 1];
        writeFileSync(folder + '/some-runtime-1.2.3.tgz', ${JSON.stringify(text)});`,
      calls: '',
    });
    process.env.npm_execpath = join(root, 'npm.js');
    return () => readFileSync(calls, 'utf8').length;
  }
  afterEach(() => {
    if (npm === undefined) delete process.env.npm_execpath;
    else process.env.npm_execpath = npm;
  });

  it('is kept when its bytes are the locked ones, and not fetched again', async () => {
    const asked = registryWith(bytes);
    const first = await fetchTarball(root, 'some-runtime', join(root, 'cache'));
    expect(await fetchTarball(root, 'some-runtime', join(root, 'cache'))).toBe(first);
    expect(asked()).toBe(1);
  });

  it('is refused when its bytes are others', async () => {
    registryWith('other bytes');
    await expect(fetchTarball(root, 'some-runtime', join(root, 'cache'))).rejects.toMatchObject({
      code: 'BLOB_MISMATCH',
    });
  });

  it('is refused when the lock file does not name it', async () => {
    registryWith(bytes);
    await expect(fetchTarball(root, 'left-pad', root)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('the sizes', () => {
  const built = (arch: string, installedBytes: number, packageBytes: number): BuiltPackage => ({
    arch: architectureOf(arch),
    file: 'x.deb',
    version: '1.0.0',
    compression: 'small',
    installedBytes,
    packageBytes,
    runtime: { version: '24.0.0', licence: '', strippedWith: undefined },
  });

  it('hold up to the limit and break one byte above it', () => {
    expect(sizesOf(built('arm64', 140_000_000, 36_000_000)).map((line) => line.holds)).toEqual([true, true]);
    const [installed] = sizesOf(built('arm64', 140_000_001, 1));
    expect(describeSize('arm64', installed!)).toMatch(/140\.0 MB {3}≤ 140 MB {2}NO$/);
  });

  it('are only told where nothing was promised', () => {
    expect(sizesOf(built('amd64', 1e9, 1e9)).map((line) => line.holds)).toEqual([null, null]);
  });

  it('name the architectures when asked for another', () => {
    expect(() => architectureOf('riscv64')).toThrow(/riscv64/);
  });
});
