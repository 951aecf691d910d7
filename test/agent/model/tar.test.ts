/** Archives as an attacker would write them: read whole or refused, never half and never outside. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBundle, readBundleFiles } from '@skein/agent/model/disk-bundle.ts';
import { readTar, writeTar } from '@skein/agent/model/tar.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterAll, describe, expect, it } from 'vitest';

const dir = mkdtempSync(join(tmpdir(), 'skein-tar-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const SEED = Number(process.env.SKEIN_SEED ?? 29);
const text = (t: string) => new TextEncoder().encode(t);

/** Changes a header and makes its checksum right again. */
function forged(tar: Uint8Array, change: (header: Uint8Array) => void, at = 0): Uint8Array {
  const copy = tar.slice();
  const header = copy.subarray(at, at + 512);
  change(header);
  header.fill(32, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.set(text(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  return copy;
}
const named = (name: string) => (header: Uint8Array) => {
  header.fill(0, 0, 100);
  header.set(text(name), 0);
};

describe('an archive', () => {
  const good = writeTar([
    ['manifest.json', text('{}')],
    ['blobs/aa', text('hello')],
  ]);

  it.each([
    '../x',
    'a/../../x',
    '/etc/passwd',
    '..',
    'a\\..\\x',
    '-rf',
    'x\ny',
    'manifest.json\n',
    ' manifest.json',
  ])('with the name “%s” is refused', (name) => {
    expect(() => readTar(forged(good, named(name)))).toThrow(/not a plain file/);
  });

  it.each([
    ['a symbolic link', '2'],
    ['a hard link', '1'],
    ['a device', '3'],
    ['a directory', '5'],
    ['a long name that follows', 'L'],
    ['a header for all', 'g'],
  ])('with %s is refused', (_what, kind) => {
    const evil = forged(good, (header) => {
      header[156] = kind.charCodeAt(0);
    });
    expect(() => readTar(evil)).toThrow(/not a plain file/);
  });

  it('with one name twice is refused: nobody could say which is meant', () => {
    expect(() => readTar(forged(good, named('manifest.json'), 1024))).toThrow(/`manifest.json` twice/);
  });

  it.each(['77777777777', '-0000000005', '5x', '', '\x80\0\0\0\0\0\0\0\0\0\x01'])(
    'with the size “%s” is refused',
    (size) => {
      const evil = forged(good, (header) => {
        header.fill(0, 124, 136);
        header.set(
          Uint8Array.from(size, (c) => c.charCodeAt(0)),
          124,
        );
      });
      expect(() => readTar(evil)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^BUNDLE_/) }),
      );
    },
  );

  it('that `tar` wrote is read', () => {
    writeFileSync(join(dir, 'manifest.json'), 'abc');
    execFileSync('tar', ['--format=ustar', '-cf', join(dir, 'x.tar'), '-C', dir, 'manifest.json']);
    const files = readTar(new Uint8Array(readFileSync(join(dir, 'x.tar'))));
    expect(new TextDecoder().decode(files.get('manifest.json'))).toBe('abc');
  });

  it(`with any bytes changed or cut is read or refused (SKEIN_SEED=${SEED})`, () => {
    const uniform = seededUniform(SEED);
    const below = (n: number) => Math.floor(uniform() * n);
    for (let round = 0; round < 3000; round++) {
      let bytes = good.slice();
      for (let changes = below(5); changes >= 0; changes--) bytes[below(bytes.length)] = below(256);
      if (round % 2) bytes = bytes.subarray(0, below(bytes.length));
      try {
        for (const [name, data] of readTar(bytes)) {
          expect(name).not.toMatch(/(^|\/)\.\.(\/|$)|^\//);
          expect(data.length).toBeLessThanOrEqual(bytes.length);
        }
      } catch (error) {
        if (!(error instanceof SkeinError)) expect.fail(`seed ${SEED}, round ${round}: ${error}`);
      }
    }
  });
});

describe('a directory', () => {
  it('takes only files that are named by a hash as blobs', async () => {
    const path = mkdtempSync(join(dir, 'd-'));
    writeFileSync(join(path, 'manifest.json'), '{}');
    execFileSync('mkdir', [join(path, 'blobs')]);
    writeFileSync(join(path, 'blobs', 'readme.txt'), 'x');
    symlinkSync('/etc/hostname', join(path, 'blobs', 'link'));
    expect((await readBundleFiles(path)).blobs.size).toBe(0);
    await expect(readBundle(path)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  });
});
