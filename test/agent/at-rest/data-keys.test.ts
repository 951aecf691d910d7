/** The data keys on real files: made once, found again, wrapped anew, and never made anew where they cannot be opened. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  forgetDataKeys,
  hasDataKeys,
  makeDataKeys,
  openDataKeys,
} from '@skein/agent/at-rest/disk-data-keys.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const [key, next, other] = [randomBytes(32), randomBytes(32), randomBytes(32)];
const wrong = expect.objectContaining({ code: 'DATA_KEY_WRONG' });
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-keys-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const files = () => readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), 'utf8')]);
const copies = ['at-rest.json', 'at-rest.copy.json'];
const buffers = (keys: { outbox: Uint8Array; models: Uint8Array }) => ({
  outbox: Buffer.from(keys.outbox),
  models: Buffer.from(keys.models),
});

describe('data keys', () => {
  it('are random, another for each store, and found again with the key', async () => {
    expect(hasDataKeys(dir)).toBe(false);
    const made = makeDataKeys(dir, key);
    expect(hasDataKeys(dir)).toBe(true);
    expect(Buffer.from(made.outbox)).not.toEqual(Buffer.from(made.models));
    const { keys, rewrapped } = await openDataKeys(dir, key);
    expect([buffers(keys), rewrapped]).toEqual([buffers(made), false]);
    for (const [, text] of files())
      for (const secret of [made.outbox, made.models, key])
        for (const form of ['hex', 'base64'] as const)
          expect(text).not.toContain(Buffer.from(secret).toString(form));
    forgetDataKeys(dir);
    expect([hasDataKeys(dir), readdirSync(dir)]).toEqual([false, []]);
  });

  it('stay as they are when the key is another one', async () => {
    makeDataKeys(dir, key);
    const before = files();
    await expect(openDataKeys(dir, other)).rejects.toEqual(wrong);
    await expect(openDataKeys(dir, other, async () => next)).rejects.toEqual(wrong);
    expect(files()).toEqual(before);
  });

  it('are wrapped by a new key while the one before is there, and by it alone after that', async () => {
    const made = makeDataKeys(dir, key);
    let asked = 0;
    const previous = async () => {
      asked++;
      return key;
    };
    const changed = await openDataKeys(dir, next, previous);
    expect([buffers(changed.keys), changed.rewrapped, asked]).toEqual([buffers(made), true, 1]);
    expect(await openDataKeys(dir, next, previous)).toMatchObject({ rewrapped: false });
    expect(asked, 'the one before is not needed any more').toBe(1);
    await expect(openDataKeys(dir, key)).rejects.toEqual(wrong);
  });

  it.each(copies)('survive the loss of %s, whichever key wrote the other', async (lost) => {
    const made = makeDataKeys(dir, key);
    for (const harm of [
      () => rmSync(join(dir, lost)),
      () => writeFileSync(join(dir, lost), 'rubbish\n{}\n'),
    ]) {
      harm();
      expect(buffers((await openDataKeys(dir, key)).keys)).toEqual(buffers(made));
      expect(files()[0]![1]).toBe(files()[1]![1]);
    }
    // Killed between the copies of a change.
    const old = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-keys-'));
    cpSync(dir, old, { recursive: true });
    await openDataKeys(dir, next, async () => key);
    cpSync(join(old, lost), join(dir, lost));
    rmSync(old, { recursive: true });
    for (const known of [key, next])
      expect(
        buffers((await openDataKeys(dir, known, async () => (known === key ? next : key))).keys),
      ).toEqual(buffers(made));
  });

  it('are refused in words when what lies there was never written by us, a pipe that nobody fills too', async () => {
    const signed = (json: string) => `${createHash('sha256').update(json).digest('hex')}\n${json}\n`;
    for (const [text, words] of [
      [signed('{"format":1,"keys":{}}'), 'keys'],
      [signed('{"format":2,"keys":{"outbox":"","models":""}}'), 'this version reads 1'],
      [signed('[]'), 'at-rest.json'],
      ['', 'are damaged'],
    ] as const) {
      for (const name of copies) writeFileSync(join(dir, name), text);
      const refused = openDataKeys(dir, key);
      await expect(refused).rejects.toMatchObject({
        code: 'KEYS_INVALID',
        message: expect.stringContaining(words),
      });
    }
    for (const name of copies) rmSync(join(dir, name));
    for (const name of copies) execFileSync('mkfifo', [join(dir, name)]);
    await expect(openDataKeys(dir, key)).rejects.toMatchObject({ code: 'DISK_FAILED' });
  });

  it('are not made anew when both copies are damaged, whatever bit it was', async () => {
    makeDataKeys(dir, key);
    const whole = readFileSync(join(dir, copies[0]!));
    for (let i = 0; i < whole.length - 1; i += 17) {
      const spoilt = Buffer.from(whole);
      spoilt[i]! ^= 4;
      for (const name of copies) writeFileSync(join(dir, name), spoilt);
      await expect(openDataKeys(dir, key), `byte ${i}`).rejects.toMatchObject({ code: 'KEYS_INVALID' });
    }
  });
});
