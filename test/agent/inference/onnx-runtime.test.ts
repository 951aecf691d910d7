import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
const home = mkdtempSync(join(tmpdir(), 'skein-home-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** A process with a home of its own and no variable that says anything. */
const SESSION = `
const { openSession } = await import('${ROOT}/agent/src/inference/onnx-session.ts');
const { default: { variants: [{ file: { sha256 } }] } } = await import('${ROOT}/models/host/bundle/manifest.json', { with: { type: 'json' } });
const path = '${ROOT}/models/host/bundle/blobs/' + sha256;
const session = await openSession({ path, sha256, threads: 1, providers: ['cpu'] });
const window = { type: 'float32', dims: [1, 155], data: new Float32Array(155) };
console.log(Object.keys(await session.run({ window })).length);
await session.close();`;

describe('the runtime', () => {
  it('tells its maker nothing: it keeps no identity and no database of its own in the home folder', () => {
    const answer = execFileSync(process.execPath, ['--input-type=module', '-e', SESSION], {
      env: { PATH: process.env.PATH, HOME: home },
      encoding: 'utf8',
    });
    expect(Number(answer)).toBeGreaterThan(0);
    expect(readdirSync(home)).toEqual([]);
  });

  it('still calls the switch by this name', () => {
    const packageRoot = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
    const library = join(packageRoot, 'bin/napi-v6', 'linux', process.arch, 'libonnxruntime.so.1');
    expect(readFileSync(library).includes('ORT_DISABLE_TELEMETRY')).toBe(true);
  });
});
