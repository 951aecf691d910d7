/** Encryption as the configuration says, from start to start of an agent. */
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keyStanding, openAtRest, tryAtRest } from '../../../agent/src/cli/open-at-rest.ts';
import { readSettings } from '../../../agent/src/cli/settings.ts';

let root: string;
let stateDir: string;
let said: string[];
beforeEach(() => {
  root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-at-rest-'));
  stateDir = join(root, 'state');
  mkdirSync(stateDir);
  for (const name of ['key', 'next']) writeFileSync(join(root, name), randomBytes(32).toString('hex'));
  said = [];
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const note = (message: string) => void said.push(message);
const log = { info: note, warn: note, error: note };
const configOf = (atRest: unknown) => {
  const file = join(root, 'agent.yaml');
  writeFileSync(file, JSON.stringify({ stateDir, ...(atRest ? { atRest } : {}) }));
  return readSettings(file, {}).config;
};
const start = (atRest?: unknown) => openAtRest(configOf(atRest), log);
const code = (wanted: string) => expect.objectContaining({ code: wanted });
const keysOf = async (atRest: unknown) => Buffer.from((await start(atRest))!.keys.outbox).toString('hex');

describe('data at rest', () => {
  it('lies in clear while no key is named, and nothing is written or asked for', async () => {
    expect(await start()).toBeUndefined();
    expect(readdirSync(stateDir)).toEqual([]);
    expect(said).toEqual([]);
  });

  it('is encrypted with keys that the next start finds again, also after a kill before anything was written', async () => {
    const first = await keysOf({ file: 'key' });
    // What a power cut may leave of a write that was under way.
    writeFileSync(join(stateDir, 'at-rest.json.part'), 'half');
    rmSync(join(stateDir, 'at-rest.copy.json'));
    expect(await keysOf({ file: 'key' })).toBe(first);
    expect(await keysOf({ command: ['/bin/cat', join(root, 'key')] })).toBe(first);
  });

  it('is not opened by another key, nor without one, and stays as it is', async () => {
    await start({ file: 'key' });
    const before = readdirSync(stateDir).map((name) => readFileSync(join(stateDir, name), 'utf8'));
    await expect(start({ file: 'next' })).rejects.toEqual(code('DATA_KEY_WRONG'));
    await expect(start({ file: 'absent' })).rejects.toEqual(code('DATA_KEY_NEEDED'));
    await expect(start({ credential: 'skein' })).rejects.toEqual(code('DATA_KEY_NEEDED'));
    await expect(start()).rejects.toEqual(code('DATA_KEY_NEEDED'));
    await expect(tryAtRest(configOf(undefined))).rejects.toEqual(code('DATA_KEY_NEEDED'));
    expect(readdirSync(stateDir).map((name) => readFileSync(join(stateDir, name), 'utf8'))).toEqual(before);
  });

  it('keeps its keys when the key that wraps them is changed', async () => {
    const first = await keysOf({ file: 'key' });
    expect(await keysOf({ file: 'next', previous: { file: 'key' } })).toBe(first);
    expect(said).toContain('the key is changed; `atRest.previous` may be removed');
    expect(await keysOf({ file: 'next' })).toBe(first);
    await expect(start({ file: 'key' })).rejects.toEqual(code('DATA_KEY_WRONG'));
  });

  it('forgets its keys once both stores lie in clear again, and never while they are encrypted', async () => {
    const on = (await start({ file: 'key' }))!;
    for (const store of ['outbox', 'models'] as const) on.settled(store);
    expect(readdirSync(stateDir)).toHaveLength(2);
    const off = (await start({ file: 'key', write: 'plain' }))!;
    expect(off.status).toEqual({ encrypts: false, key: `file ${join(root, 'key')}` });
    off.settled('models');
    off.settled('models');
    expect(readdirSync(stateDir)).toHaveLength(2);
    off.settled('outbox');
    expect(readdirSync(stateDir)).toEqual([]);
    expect(await start({ file: 'key', write: 'plain' })).toBeUndefined();
    expect(await start()).toBeUndefined();
  });

  it('is warned about where the key lies beside it', async () => {
    await start({ file: 'key' });
    expect(said.join()).toContain('on the same file system as the data: it protects nothing there');
    expect(keyStanding(configOf({ file: 'key' })).beside?.fix).toContain('TPM2');
    expect(keyStanding(configOf({ credential: 'skein' }))).toMatchObject({
      outside: { fix: expect.stringContaining('systemd-run') },
    });
    for (const [, text] of said.entries())
      expect(text).not.toContain(readFileSync(join(root, 'key'), 'utf8'));
  });

  it('is looked at without a change by whoever only asks', async () => {
    const config = configOf({ file: 'key' });
    expect(await tryAtRest(config)).toBeUndefined();
    expect(readdirSync(stateDir)).toEqual([]);
    await start({ file: 'key' });
    rmSync(join(stateDir, 'at-rest.copy.json'));
    expect(await tryAtRest(configOf({ file: 'next', previous: { file: 'key' } }))).toMatchObject({
      rewrapped: true,
    });
    expect(readdirSync(stateDir)).toEqual(['at-rest.json']);
  });
});
