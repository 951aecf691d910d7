/** Archives as an attacker would write them, against the reader of whoever signs: nothing lands outside of its folder. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTar } from '@skein/agent/model/tar.ts';
import { withBundle } from '@skein/fleet-server/cli/bundle-files.ts';
import { unpackBundle } from '@skein/fleet-server/cli/tar-bundle.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { mutations } from '../../mutations.ts';
import { smallModel, writeSmallModel } from '../models/small-model.ts';

const HOURS = 3_600_000;
const dir = mkdtempSync(join(tmpdir(), 'skein-archive-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const model = smallModel();
const files: [string, Uint8Array][] = [
  ['manifest.json', model.manifestBytes],
  ...[...model.blobs].map(
    ([sha, bytes]) => [`blobs/${sha}`, bytes.subarray(0, 2000)] as [string, Uint8Array],
  ),
];
const good = writeTar(files);
let serial = 0;

/** Unpacks into a folder of its own in an otherwise empty one; the names of everything that is then there. */
async function unpacked(bytes: Uint8Array): Promise<{ names: string[]; code?: string }> {
  const room = join(dir, `room-${serial++}`);
  mkdirSync(room);
  writeFileSync(join(room, 'a.skein'), bytes);
  try {
    const code = await unpackBundle(join(room, 'a.skein'), join(room, 'in')).then(
      () => undefined,
      (thrown: unknown) => {
        if (!(thrown instanceof SkeinError)) throw thrown;
        return thrown.code;
      },
    );
    const names = readdirSync(room, { recursive: true, encoding: 'utf8' }).filter((n) => n !== 'a.skein');
    return { names, ...(code ? { code } : {}) };
  } finally {
    rmSync(room, { recursive: true, force: true });
  }
}
const WITHIN = /^in(\/manifest\.json|\/blobs(\/[0-9a-f]{64})?)?$/;

/** The first header with other fields, and its checksum right. */
function forged(change: (header: Uint8Array) => void): Uint8Array {
  const bytes = good.slice();
  const header = bytes.subarray(0, 512);
  change(header);
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  return bytes;
}
const put = (text: string, at: number, to: number) => (header: Uint8Array) => {
  header.fill(0, at, to);
  header.set(Buffer.from(text, 'latin1'), at);
};

describe('an archive', () => {
  it(
    'with any byte changed writes nothing outside of its folder, and is unpacked or refused as such',
    async () => {
      for (const { what, bytes } of mutations(good, 25)) {
        const { names, code = 'BUNDLE_' } = await unpacked(bytes);
        expect(
          names.filter((name) => !WITHIN.test(name)),
          what,
        ).toEqual([]);
        expect(code, what).toMatch(/^BUNDLE_/);
      }
    },
    HOURS,
  );

  it.each([
    ['a symbolic link', put('2', 156, 157)],
    ['a hard link', put('1', 156, 157)],
    ['a character device', put('3', 156, 157)],
    ['a block device', put('4', 156, 157)],
    ['a pipe', put('6', 156, 157)],
    ['a header of pax', put('x', 156, 157)],
    ['a header of pax for all', put('g', 156, 157)],
    ['a long name of GNU', put('L', 156, 157)],
    ['a sparse file of GNU', put('S', 156, 157)],
    ['a way up', put('../manifest.json', 0, 100)],
    ['an absolute path', put('/tmp/manifest.json', 0, 100)],
    ['a way up in the prefix', put('../..', 345, 500)],
    ['a name that only looks right', put('mаnifest.json', 0, 100)],
    ['a name with a line break', put('manifest.json\n', 0, 100)],
    ['a folder', put('5', 156, 157)],
    ['a size in binary', put('\x80\0\0\0\0\0\0\0\0\0\x01', 124, 136)],
    ['a size below nothing', put('-0000000005', 124, 136)],
  ])('with %s is refused', async (_, change) => {
    const { names, code } = await unpacked(forged(change));
    expect(code).toBe('BUNDLE_INVALID');
    expect(names.filter((name) => !WITHIN.test(name))).toEqual([]);
  });

  it('with a size beyond its end is cut short, and takes no room before', async () => {
    expect(await unpacked(forged(put('77777777777', 124, 136)))).toEqual({
      names: ['in', 'in/blobs'],
      code: 'BUNDLE_TRUNCATED',
    });
  });

  it('with one name twice is refused: nobody could say which is meant', async () => {
    const twice = new Uint8Array(Buffer.concat([writeTar(files.slice(0, 1)).subarray(0, -1024), good]));
    expect((await unpacked(twice)).code).toBe('BUNDLE_INVALID');
  });

  it('of more entries than any bundle has is refused', async () => {
    const many = Array.from({ length: 1001 }, (_, i) => [
      `blobs/${`${i}`.padStart(64, '0')}`,
      new Uint8Array(),
    ]);
    expect((await unpacked(writeTar(many as [string, Uint8Array][]))).code).toBe('BUNDLE_INVALID');
  });
});

describe('a manifest', () => {
  const bundleIn = (path: string) => withBundle(path, async (bundle) => bundle);

  it('of a terabyte is refused before it is read', async () => {
    const path = writeSmallModel(join(dir, 'huge'), model);
    truncateSync(join(path, 'manifest.json'), 2 ** 40);
    await expect(bundleIn(path)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  });

  it('that is a pipe is refused, not waited for', async () => {
    const path = writeSmallModel(join(dir, 'pipe'), model);
    rmSync(join(path, 'manifest.json'));
    execFileSync('mkfifo', [join(path, 'manifest.json')]);
    await expect(bundleIn(path)).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
  });

  it(
    'with any byte changed is another model’s, or none',
    async () => {
      const path = writeSmallModel(join(dir, 'changed'), model);
      const file = join(path, 'manifest.json');
      const whole = new Uint8Array(readFileSync(file));
      for (const { what, bytes } of mutations(whole, 15)) {
        writeFileSync(file, bytes);
        const read = await bundleIn(path).catch((thrown: unknown) => thrown);
        if (read instanceof Error) {
          if (!(read instanceof SkeinError)) expect.fail(`${what}: ${read.stack}`);
          expect(read.code, what).toMatch(/^(MANIFEST|BUNDLE|BLOB)_/);
        } else expect(read, what).not.toMatchObject({ manifestRef: { sha256: model.manifestSha256 } });
      }
    },
    HOURS,
  );
});
