/** Folders of images on a real disk, and answers that should be one. */
import { mkdirSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type DirectoryOptions, directorySource } from '../../../agent/src/sources/directory-source.ts';
import { diskPictures } from '../../../agent/src/sources/disk-pictures.ts';
import { findPicture, pictureIn } from '../../../agent/src/sources/picture-bytes.ts';
import { systemClock } from '../../../agent/src/system-clock.ts';
import { listening } from './listening.ts';

const root = mkdtempSync(join(tmpdir(), 'skein-pictures-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==',
  'base64',
);
const JPEG = Buffer.from('ffd8ffe0000400 00ffda0004 0102 aabbff00ccffd9'.replaceAll(' ', ''), 'hex');

describe('a picture', () => {
  it('is known by its first bytes and whole by its last', () => {
    expect(findPicture(PNG)).toMatchObject({ picture: { format: 'png' } });
    expect(findPicture(Buffer.concat([PNG, Buffer.alloc(100)]))).toMatchObject({
      picture: { format: 'png' },
    });
    expect(findPicture(JPEG)).toMatchObject({ picture: { format: 'jpeg' } });
    expect(findPicture(Buffer.concat([JPEG, Buffer.from('trailer')]))).toMatchObject({
      picture: { format: 'jpeg' },
    });
    expect(findPicture(Buffer.from('GIF89a......'))).toEqual({ wrong: 'unknown' });
    for (let length = 0; length < PNG.length; length += 1)
      expect(findPicture(PNG.subarray(0, length))).toEqual({ wrong: 'cut' });
    for (let length = 0; length < JPEG.length; length += 1)
      expect(findPicture(JPEG.subarray(0, length))).toEqual({ wrong: 'cut' });
    expect(() => pictureIn(Buffer.from('<html>not found</html>'), 'cam')).toThrow(
      'cam: neither JPEG nor PNG',
    );
  });
});

function folder(files: Record<string, Buffer>, more: Partial<DirectoryOptions> = {}) {
  const path = mkdtempSync(join(root, 'f-'));
  const put = (name: string, bytes: Buffer) => writeFileSync(join(path, name), bytes);
  for (const [name, bytes] of Object.entries(files)) put(name, bytes);
  const heard = listening();
  const options = {
    name: 'dir',
    stallAfterMs: 60_000,
    periodMs: 1,
    maxBytes: 1_000,
    loop: false,
    watch: false,
  };
  const source = directorySource({ ...options, ...more }, systemClock, diskPictures(path));
  return { path, put, heard, source };
}
const marked = (mark: number) => Buffer.concat([PNG, Uint8Array.of(mark)]);
const marks = (readings: { picture?: { bytes: Uint8Array } | undefined }[]) =>
  readings.map(({ picture }) => picture!.bytes.at(-1));

describe('a folder of images', () => {
  it('is shown in order and once; what is no image is one bad reading', async () => {
    const { path, heard, source } = folder({
      'b.png': marked(2),
      'a.JPG': marked(1),
      'c.jpeg': Buffer.from('this is text, not a picture'),
      'd.png': marked(4),
      'huge.png': Buffer.alloc(2_000),
      'notes.txt': Buffer.from('x'),
      '.hidden.png': marked(9),
    });
    mkdirSync(join(path, 'folder.png'));
    source.start(heard);
    await heard.until(() => heard.ends === 1);
    expect(marks(heard.readings)).toEqual([1, 2, 4]);
    expect(heard.failures.map((e) => [(e as { code?: string }).code, e.message])).toEqual([
      ['SOURCE_INVALID', 'c.jpeg: neither JPEG nor PNG'],
      ['SOURCE_INVALID', 'huge.png: 2000 bytes, at most 1000 are read'],
    ]);
  });

  it('is waited for by the model: none is left out', async () => {
    const { heard, source } = folder({ 'a.png': marked(1), 'b.png': marked(2), 'c.png': marked(3) });
    let open = (): void => {};
    let room: Promise<void> | undefined = new Promise((resolve) => {
      open = resolve;
    });
    source.start({ ...heard, room: () => room });
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard.readings).toEqual([]);
    room = undefined;
    open();
    await heard.until(() => heard.ends === 1);
    expect(marks(heard.readings)).toEqual([1, 2, 3]);
  });

  it('that is watched gives what appears later, also what was still being written', async () => {
    const { path, put, heard, source } = folder({ 'a.png': marked(1) }, { watch: true });
    source.start(heard);
    await heard.until(() => heard.readings.length === 1);
    put('c.png', marked(3).subarray(0, 40));
    put('b.png', marked(2));
    await heard.until(() => heard.readings.length === 2);
    put('c.png', marked(3));
    await heard.until(() => heard.readings.length === 3);
    expect(marks(heard.readings)).toEqual([1, 2, 3]);
    unlinkSync(join(path, 'a.png'));
    put('d.png', marked(4));
    await heard.until(() => heard.readings.length === 4);
    put('a.png', marked(5));
    await heard.until(() => heard.readings.length === 5);
    expect(marks(heard.readings)).toEqual([1, 2, 3, 4, 5]);
    expect(heard.failures).toEqual([]);
    await source.stop();
  });

  it('begins again when told to, and says when there is nothing to show or no folder', async () => {
    const again = folder({ 'a.png': marked(1), 'b.png': marked(2) }, { loop: true });
    again.source.start(again.heard);
    await again.heard.until(() => again.heard.readings.length === 5);
    expect(marks(again.heard.readings)).toEqual([1, 2, 1, 2, 1]);
    await again.source.stop();
    const empty = folder({}, { loop: true });
    empty.source.start(empty.heard);
    await empty.heard.until(() => empty.heard.failures.length === 1);
    expect(empty.heard.failures[0]!.message).toBe('the folder holds no picture');
    await empty.source.stop();
    const gone = folder({});
    rmSync(gone.path, { recursive: true });
    gone.source.start(gone.heard);
    await gone.heard.until(() => gone.heard.failures.length === 1);
    expect(gone.heard.failures[0]!.message).toMatch(/cannot read .*ENOENT/);
    await gone.source.stop();
  });
});
