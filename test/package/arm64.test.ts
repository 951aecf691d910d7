import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SelftestOutcome } from '../../agent/src/cli/selftest.ts';
import { buildAndUnpack, type Unpacked } from '../../scripts/release/unpack.ts';
import { runOnArm64, whyNot } from './arm64.ts';
import { whyNoPackage } from './unpacked.ts';

const BUNDLE = join(import.meta.dirname, '..', '..', 'models', 'host', 'bundle');
const missing = whyNot() ?? (await whyNoPackage());
if (missing) process.stdout.write(`Skipping the arm64 package on an arm64 processor: ${missing}\n`);

describe.skipIf(missing)(`the arm64 package on an arm64 processor${missing ? ` (${missing})` : ''}`, () => {
  let unpacked: Unpacked;
  const folder = mkdtempSync(join(tmpdir(), 'skein-arm64-'));

  beforeAll(async () => {
    unpacked = await buildAndUnpack('arm64', 'fast');
  });
  afterAll(() => {
    unpacked?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const agent = (...args: string[]) => {
    const lib = join(unpacked.root, 'usr', 'lib', 'skein-agent');
    return runOnArm64(folder, join(lib, 'bin', 'node'), [join(lib, 'app', 'skein-agent.cjs'), ...args]);
  };

  it('says its version', () => {
    expect(agent('--version')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining(unpacked.built.version),
    });
  });

  it('infers the golden vectors of every variant within tolerance and stores the predictions', () => {
    const { status, stdout, stderr } = agent('selftest', '--bundle', BUNDLE, '--dir', folder, '-o', 'json');
    expect(status, stderr).toBe(0);
    const outcome = JSON.parse(stdout) as SelftestOutcome;
    expect(outcome).toMatchObject({ ok: true, arch: 'arm64', node: `v${unpacked.built.runtime.version}` });
    for (const variant of outcome.variants) {
      expect(variant.total).toBeGreaterThan(0);
      expect(variant.largestDifference, variant.id).toBeLessThanOrEqual(variant.tolerance);
    }
    expect(storedIn(join(folder, 'selftest.db'))).toBe(outcome.stored.accepted);
  });

  it('says what is wrong with a bundle that is not there', () => {
    const { status, stderr } = agent('selftest', '--bundle', join(folder, 'nowhere'), '--dir', folder);
    expect(status).toBe(2);
    expect(stderr).toMatch(/BUNDLE_INVALID.*does not exist/);
  });
});

/** Records in the sealed batches, read on this machine: the file is the same on every processor. */
function storedIn(path: string): number {
  expect(existsSync(path)).toBe(true);
  const database = new Database(path, { readonly: true });
  try {
    return database
      .prepare('SELECT sum(n) AS n FROM batches WHERE bytes IS NOT NULL')
      .pluck()
      .get() as number;
  } finally {
    database.close();
  }
}
