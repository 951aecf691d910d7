import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { newPassphrase, passphraseAsker, type Terminal } from '@skein/fleet-server/cli/passphrase.ts';
import { afterAll, describe, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'skein-passphrase-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A terminal at which somebody types `lines`, one at each prompt. */
function terminal(...lines: string[]) {
  const said: string[] = [];
  const raw: boolean[] = [];
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    setRawMode: (on: boolean) => void raw.push(on),
  });
  const write = (text: string) => {
    said.push(text);
    const line = text === '\n' ? undefined : lines.shift();
    if (line !== undefined) setImmediate(() => input.write(line));
  };
  return { said, raw, terminal: { input, output: { write } } as unknown as Terminal };
}
const key = { name: 'root-alice.json' };

describe('a passphrase', () => {
  it('is asked for once, without showing it, for however many keys', async () => {
    const at = terminal('pässwörd 1\r');
    const ask = passphraseAsker({ terminal: at.terminal });
    expect([await ask(key), await ask(key)]).toEqual(['pässwörd 1', 'pässwörd 1']);
    expect(at.said.join('')).toBe('Passphrase of root-alice.json: \n');
    expect(at.raw).toEqual([true, false]);
  });

  it('can be corrected while it is typed, and given up', async () => {
    const ask = (typed: string) => passphraseAsker({ terminal: terminal(typed).terminal })(key);
    expect(await ask('wrong\u0015rihgt\u007f\u007f\u007fght\n')).toBe('right');
    await expect(ask('half\u0003')).rejects.toMatchObject({ code: 'PASSPHRASE_NEEDED' });
    expect((await ask(`${'x'.repeat(5000)}\n`))!.length).toBe(1024);
  });

  it('comes from a file before the environment, and from that before the terminal', async () => {
    const file = join(folder, 'passphrase');
    writeFileSync(file, 'from the file\nsecond line\n');
    expect(await passphraseAsker({ file, env: 'from the environment' })(key)).toBe('from the file');
    expect(await passphraseAsker({ env: 'from the environment' })(key)).toBe('from the environment');
    expect(await passphraseAsker({})(key)).toBeUndefined();
    writeFileSync(file, '\n');
    await expect(passphraseAsker({ file })(key)).rejects.toMatchObject({ code: 'PASSPHRASE_NEEDED' });
    await expect(passphraseAsker({ file: `${file}.none` })(key)).rejects.toMatchObject({
      code: 'PASSPHRASE_NEEDED',
    });
  });

  it('for new keys is typed twice the same', async () => {
    const twice = (...lines: string[]) => newPassphrase({ terminal: terminal(...lines).terminal });
    expect(await twice('one\n', 'one\n')).toBe('one');
    expect(await twice('\n')).toBeUndefined();
    await expect(twice('one\n', 'two\n')).rejects.toMatchObject({ code: 'PASSPHRASE_WRONG' });
  });
});
