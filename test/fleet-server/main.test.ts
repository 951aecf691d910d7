import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, it } from 'vitest';

const MAIN = resolve(import.meta.dirname, '../../fleet-server/src/main.ts');
const folders: string[] = [];
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function launch(env: Record<string, string> = {}, args: string[] = []) {
  const stateDir = mkdtempSync(join(tmpdir(), 'skein-main-'));
  folders.push(stateDir);
  const ports = { SKEIN_HTTP_PORT: '0', SKEIN_DEVICE_PORT: '0', SKEIN_MQTTS_PORT: '0', SKEIN_MQTT_PORT: '0' };
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, SKEIN_STATE_DIR: stateDir, SKEIN_DEVICE_HOST: '127.0.0.1', ...ports, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  children.push(child);
  let said = '';
  child.stderr!.on('data', (chunk) => {
    said += String(chunk);
  });
  const exit = once(child, 'exit').then(([code]) => ({ code: code as number, said }));
  const line = once(createInterface({ input: child.stdout! }), 'line').then(([text]) => String(text));
  return { child, stateDir, exit, line };
}

describe('the server’s process', () => {
  it('says in one JSON line that it is ready and where, and stops cleanly within 5 s of SIGTERM', async () => {
    const { child, stateDir, exit, line } = launch();
    const ready = JSON.parse(await line) as { ready: boolean; ports: Record<string, number> };
    expect(ready.ready).toBe(true);
    expect(Object.keys(ready.ports).sort()).toEqual(['device', 'http', 'mqtt', 'mqtts']);
    const operator = join(stateDir, 'operator.json');
    expect(statSync(operator).mode & 0o777).toBe(0o600);
    const { url, key } = JSON.parse(readFileSync(operator, 'utf8')) as { url: string; key: string };
    for (const file of ['ca/ca.key', 'ca/server.key', 'keys/director.key']) {
      expect(statSync(join(stateDir, file)).mode & 0o077, file).toBe(0);
    }
    const held = await fetch(`${url}/v1/events`, { headers: { authorization: `Bearer ${key}` } });
    expect(held.status).toBe(200);
    const started = performance.now();
    child.kill('SIGTERM');
    expect((await exit).code).toBe(0);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('stops by itself when the process that started it is gone', async () => {
    const { child, exit, line } = launch();
    await line;
    child.disconnect();
    expect((await exit).code).toBe(0);
  });

  it('names a taken port and its variable on standard error', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const { code, said } = await launch({ SKEIN_MQTT_PORT: String(port) }).exit;
    taken.close();
    expect(code).toBe(2);
    expect(said).toContain(`PORT_IN_USE: port ${port} on 127.0.0.1 is in use (SKEIN_MQTT_PORT)`);
  });
});
