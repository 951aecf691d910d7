import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lateModules } from '../../scripts/release/late-modules.ts';

const ROOT = join(import.meta.dirname, '../..');
const REQUIRE = `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-late-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What a bundle of `source`, which lies in the checkout, prints. */
async function said(source: string): Promise<unknown> {
  const file = join(folder, 'bundled.mjs');
  await build({
    stdin: { contents: source, resolveDir: join(ROOT, 'protocol/src'), loader: 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    outfile: file,
    logLevel: 'silent',
    external: ['*.node'],
    banner: { js: REQUIRE },
    plugins: [lateModules],
  });
  return JSON.parse(execFileSync(process.execPath, [file], { encoding: 'utf8' }));
}

describe('a module that a bundle loads late', () => {
  it('is loaded when something of it is first used, and once', async () => {
    const answer = await said(`import { crc32 } from 'node:zlib'; import * as zlib from 'node:zlib';
      const loaded = () => process.moduleLoadList.includes('NativeModule zlib');
      const before = loaded(); const sum = crc32('skein');
      console.log(JSON.stringify({ before, sum, after: loaded(), same: zlib.crc32 === crc32 }));`);
    expect(answer).toEqual({ before: false, sum: expect.any(Number), after: true, same: true });
  });

  it.each(['zlib', 'v8', 'http2', 'fs/promises'])('may be %s', async (name) => {
    const answer = await said(`import * as it from 'node:${name}';
      const loaded = () => process.moduleLoadList.includes('NativeModule ${name}');
      const before = loaded(); const used = typeof it.constants;
      console.log(JSON.stringify([before, loaded(), used]));`);
    expect(answer).toEqual([false, true, expect.any(String)]);
  });

  it('has what the module has and nothing else, and can be inherited from', async () => {
    const answer = await said(`import * as crypto from 'node:crypto'; import fs from 'node:fs';
      import { EventEmitter } from 'node:events';
      class Own extends EventEmitter {}
      const own = new Own(); let heard = 0; own.on('said', () => heard++); own.emit('said');
      console.log(JSON.stringify([
        'webcrypto' in crypto, 'nothing' in crypto, typeof crypto.nothing, typeof fs.readFileSync, heard,
      ]));`);
    expect(answer).toEqual([true, false, 'undefined', 'function', 1]);
  });

  it('may be a package', async () => {
    const answer = await said(`import nacl from 'tweetnacl'; import { sha256 } from '@noble/hashes/sha2.js';
      console.log(JSON.stringify([nacl.sign.publicKeyLength, sha256(new Uint8Array()).length]));`);
    expect(answer).toEqual([32, 32]);
  });

  it('fails where it is used when it can not be loaded', async () => {
    const answer = await said(`import { Tensor } from 'onnxruntime-node';
      let failure = ''; const before = 'started';
      try { new Tensor('float32', [1], [1]); } catch (error) { failure = error.constructor.name; }
      console.log(JSON.stringify({ before, failed: failure !== '' }));`);
    // The bundle lies where no binary of the runtime is.
    expect(answer).toEqual({ before: 'started', failed: true });
  });
});
