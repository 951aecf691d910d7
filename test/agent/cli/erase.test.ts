import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { erase, eraseText, planErase, planText } from '../../../agent/src/cli/erase.ts';
import { parseYaml } from '../../../agent/src/cli/yaml-file.ts';
import { parseConfig } from '../../../agent/src/config/parse.ts';
import type { Config } from '../../../agent/src/config/schema.ts';
import { holdsOpen } from '../../../agent/src/erase/linux-holder.ts';
import { lockState } from '../../../agent/src/sqlite-lock.ts';

const defaults = (): Config => parseConfig(parseYaml('', 'defaults'), {});
let stateDir: string;
const config = (): Config => ({ ...defaults(), stateDir });
const put = (...names: string[]) => {
  for (const name of names) {
    mkdirSync(join(stateDir, name, '..'), { recursive: true });
    writeFileSync(join(stateDir, name), name);
  }
};
const eraseNow = (options = {}) => erase(config(), planErase(config()), { yes: true, ...options });

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'skein-erase-'));
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

describe('skein-agent erase', () => {
  it('says what went and what was left', async () => {
    put('outbox.db.seen', 'models/x', 'agent.yaml');
    expect(planText(planErase(config()))).toMatch(/not enrolled.*\n.*\nbuffer +1 +14 B/);
    const report = await eraseNow();
    expect(report).toMatchObject({ device: null, folder: stateDir, left: ['agent.yaml'] });
    expect(eraseText(report)).toContain('Flash media may keep old cells');
    expect(eraseText(report)).toMatch(/^models and downloads +1/m);
    expect(readdirSync(stateDir)).toEqual(['agent.yaml']);
    expect(eraseText(await eraseNow())).toBe(`nothing of an agent is in ${stateDir}`);
  });

  it('finds the agent’s folder in a checkout’s', async () => {
    put('agent/outbox.db.seen', 'server/store.db', 'operator.json');
    await eraseNow();
    expect(readdirSync(stateDir).sort()).toEqual(['agent', 'operator.json', 'server']);
    expect(readdirSync(join(stateDir, 'agent'))).toEqual([]);
  });

  it('refuses while an agent runs, and ends no process that does not hold the state', async () => {
    put('outbox.db.seen');
    const lock = lockState(stateDir);
    const fix = expect.stringContaining('--stop');
    await expect(eraseNow()).rejects.toMatchObject({ code: 'CONFLICT', fix });
    writeFileSync(join(stateDir, 'api.json'), JSON.stringify({ pid: 1 }));
    await expect(eraseNow({ stop: true })).rejects.toMatchObject({
      code: 'CONFLICT',
      fix: expect.stringContaining('systemctl stop'),
    });
    expect(holdsOpen(process.pid, join(stateDir, 'agent.lock'))).toBe(true);
    expect(holdsOpen(process.pid, join(stateDir, 'outbox.db.seen'))).toBe(false);
    lock.release();
    expect(existsSync(join(stateDir, 'outbox.db.seen'))).toBe(true);
    await eraseNow();
    expect(readdirSync(stateDir)).toEqual([]);
  });

  it('does nothing unless it is confirmed by the word', async () => {
    put('outbox.db.seen');
    const plan = planErase(config());
    await expect(erase(config(), plan, {})).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      fix: 'Say --yes.',
    });
    const asked: string[] = [];
    await expect(
      erase(config(), plan, {}, async (word) => {
        asked.push(word);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(asked).toEqual(['erase']);
    expect(readdirSync(stateDir)).toEqual(['outbox.db.seen']);
  });

  it('removes a socket that an agent left, and no file of that name', async () => {
    put('outbox.db.seen', 'file');
    const path = join(stateDir, 'socket');
    const server = createServer().listen(path);
    await new Promise((resolve) => server.once('listening', resolve));
    const api = { ...defaults().api, socket: path, grpcSocket: join(stateDir, 'file') };
    await erase({ ...config(), api }, planErase(config()), { yes: true });
    expect(readdirSync(stateDir)).toEqual(['file']);
    server.close();
  });
});
