/** Keys as people write them down, and the three places that they come from. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { childKey } from '@skein/agent/at-rest/child-key.ts';
import { diskKey, liesBeside } from '@skein/agent/at-rest/disk-key.ts';
import { keyBytes } from '@skein/agent/at-rest/key-bytes.ts';
import type { KeyPort } from '@skein/agent/at-rest/key-port.ts';
import { systemdKey } from '@skein/agent/at-rest/systemd-key.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const key = randomBytes(32);
const needed = expect.objectContaining({ code: 'DATA_KEY_NEEDED' });
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'skein-key-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const fileWith = (name: string, bytes: string | Uint8Array): string => {
  writeFileSync(join(dir, name), bytes);
  return join(dir, name);
};

describe('a key', () => {
  it.each([
    ['raw', key],
    ['hex', Buffer.from(key.toString('hex'))],
    ['hex in capitals with a line end', Buffer.from(`${key.toString('hex').toUpperCase()}\n`)],
    ['base64 with a line end', Buffer.from(`${key.toString('base64')}\r\n`)],
    ['base64url without padding', Buffer.from(key.toString('base64url'))],
  ])('is read as %s', (_, given) => {
    expect(Buffer.from(keyBytes(given, 'here'))).toEqual(key);
  });

  it.each([
    ['nothing', ''],
    ['31 bytes', randomBytes(31)],
    ['33 bytes', randomBytes(33)],
    ['half a key in hex, which is 32 bytes long', randomBytes(16).toString('hex')],
    ['hex of 31 bytes', randomBytes(31).toString('hex')],
    ['zeros', new Uint8Array(32)],
    ['zeros in hex', '00'.repeat(32)],
    ['words', 'correct horse battery staple'],
  ])('is refused as %s, in words that do not tell it', (_, given) => {
    const bytes = Buffer.from(given);
    const refused = (() => {
      try {
        return void keyBytes(bytes, 'here');
      } catch (thrown) {
        return thrown as Error;
      }
    })();
    expect(refused).toEqual(needed);
    if (bytes.length > 8) expect(JSON.stringify(refused) + refused?.message).not.toContain(bytes.toString());
  });
});

describe('a key port', () => {
  const refusal = async (port: KeyPort): Promise<string> => {
    const error = await port.read().then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    expect(error).toEqual(needed);
    return error!.message;
  };

  it('reads a file, and neither a pipe, a folder nor what is not there', async () => {
    expect(Buffer.from(await diskKey(fileWith('key', key)).read())).toEqual(key);
    const pipe = join(dir, 'pipe');
    execFileSync('mkfifo', [pipe]);
    expect(await refusal(diskKey(pipe))).toContain('is no file');
    expect(await refusal(diskKey(dir))).toContain('is no file');
    expect(await refusal(diskKey('/dev/zero'))).toContain('is no file');
    expect(await refusal(diskKey(join(dir, 'absent')))).toContain('cannot be read');
    expect(await refusal(diskKey(fileWith('long', randomBytes(1 << 20))))).toContain('gives no key');
  });

  it('knows when the file lies where the data does', () => {
    const beside = fileWith('beside', key);
    expect(liesBeside(beside, dir)).toBe(true);
    expect(liesBeside('/proc/self/status', dir)).toBe(false);
    expect(liesBeside(join(dir, 'absent'), dir)).toBe(false);
  });

  it('reads what systemd hands over, and says where to run when it hands over nothing', async () => {
    mkdirSync(join(dir, 'credentials'));
    writeFileSync(join(dir, 'credentials', 'skein-at-rest'), key);
    const env = { CREDENTIALS_DIRECTORY: join(dir, 'credentials') };
    expect(Buffer.from(await systemdKey('skein-at-rest', env).read())).toEqual(key);
    expect(await refusal(systemdKey('other', env))).toContain('credential other');
    expect(await refusal(systemdKey('skein-at-rest', {}))).toContain('no credentials');
  });

  it('reads what a program prints', async () => {
    const port = childKey(['/bin/sh', '-c', `printf ${key.toString('hex')}`]);
    expect(Buffer.from(await port.read())).toEqual(key);
    expect(port.from).toBe('command /bin/sh');
  });

  it('bounds a program in time and in words, and says why it gave nothing', async () => {
    const sh = (script: string, withinMs?: number) => refusal(childKey(['/bin/sh', '-c', script], withinMs));
    expect(await sh(`echo the TPM is locked >&2; exit 3`)).toContain('exit code 3: the TPM is locked');
    expect(await sh('yes')).toContain('printed more than');
    expect(await sh('sleep 60 & wait', 50)).toContain('no end within 50 ms');
    expect(await sh(`printf ${'s3cret'.repeat(4)}`)).not.toContain('s3cret');
    expect(await refusal(childKey([join(dir, 'absent')]))).toContain('did not start');
  });
});
