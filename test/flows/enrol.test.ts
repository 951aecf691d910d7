/** Enrolment between a real server and the real command, over TLS on free ports. */
import { spawnSync } from 'node:child_process';
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiClient, createApiClient } from '../../fleet-server/src/cli/client.ts';
import { type Daemon, startDaemon, stopDaemon } from '../../scripts/processes.ts';

const ROOT = join(import.meta.dirname, '../..');
const AGENT = join(ROOT, 'agent/src/main.ts');
const SKEIN = join(ROOT, 'fleet-server/src/cli/skein.ts');
const folder = mkdtempSync(join(tmpdir(), 'skein-enrol-flow-'));
const daemons: Daemon[] = [];

interface Server {
  daemon: Daemon;
  api: ApiClient;
  deviceUrl: string;
  env: NodeJS.ProcessEnv;
}
let server: Server;
let devices = 0;

const clean = (env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: folder,
  NODE_NO_WARNINGS: '1',
  ...env,
});
const command = (args: string[], env = clean()) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  });
  return { status, stdout, stderr };
};

async function startServer(name: string): Promise<Server> {
  const stateDir = join(folder, name);
  mkdirSync(stateDir);
  const ports = ['HTTP', 'DEVICE', 'MQTTS', 'MQTT'].map((port) => [`SKEIN_${port}_PORT`, '0']);
  const env = clean({ ...Object.fromEntries(ports), SKEIN_STATE_DIR: stateDir });
  const daemon = await startDaemon({
    name,
    args: [join(ROOT, 'fleet-server/src/main.ts')],
    env,
    logFile: join(folder, `${name}.log`),
    readyWithinMs: 60_000,
  });
  daemons.push(daemon);
  const init = command([SKEIN, 'keys', 'init'], env);
  expect(init.status, init.stderr).toBe(0);
  const { url, key } = JSON.parse(readFileSync(join(stateDir, 'operator.json'), 'utf8'));
  const { device } = daemon.ready.ports as { device: number };
  return { daemon, api: createApiClient({ url, key }), deviceUrl: `https://localhost:${device}`, env };
}

const newToken = async (body: { uses?: number; ttlMs?: number } = {}, at = server) =>
  (await at.api.call('createToken', { body })).token;

function enroll(token: string, at = server.deviceUrl) {
  const stateDir = join(folder, `device-${devices++}`);
  const args = [AGENT, 'enroll', '--server', at, '--token', token, '-o', 'json'];
  return { stateDir, ...command(args, clean({ SKEIN_AGENT_STATE_DIR: stateDir })) };
}

beforeAll(async () => {
  server = await startServer('server');
});
afterAll(async () => {
  await Promise.all(daemons.map((daemon) => stopDaemon(daemon)));
  rmSync(folder, { recursive: true, force: true });
});

describe('enrolling a device', () => {
  it('makes it known to the server, and leaves only what it needs on its disk', async () => {
    const { status, stdout, stderr, stateDir } = enroll(await newToken());
    expect(status, stderr).toBe(0);
    const { device, fleet } = JSON.parse(stdout);
    expect(fleet).toBe('home');
    const known = await server.api.call('showDevice', { params: { id: device } });
    expect(known).toMatchObject({ id: device, online: false, revoked: false });
    expect(existsSync(join(stateDir, 'identity/identity.json'))).toBe(true);
    expect(existsSync(join(stateDir, 'trust.db'))).toBe(true);
  });

  it('refuses a token that has been used, has expired or is no token, with what to do', async () => {
    const token = await newToken();
    expect(enroll(token).status).toBe(0);
    const again = enroll(token);
    expect([again.status, again.stderr]).toEqual([
      2,
      expect.stringMatching(/TOKEN_USED.*\n.*skein tokens create/),
    ]);
    const short = await newToken({ ttlMs: 1000 });
    await expect
      .poll(async () => Date.now() > (await server.api.call('listTokens')).items[0]!.expiresAt, {
        timeout: 5_000,
      })
      .toBe(true);
    expect(enroll(short).stderr).toMatch(/TOKEN_EXPIRED/);
    expect(enroll('hello').stderr).toMatch(/TOKEN_INVALID.*\n.*Copy the whole token/);
    const [id, , hash] = (await newToken()).split('.');
    expect(enroll(`${id}.${'x'.repeat(24)}.${hash}`).stderr).toMatch(/TOKEN_INVALID/);
  });

  it('serves as many devices as the token says', async () => {
    const token = await newToken({ uses: 2 });
    expect([enroll(token), enroll(token), enroll(token)].map((result) => result.status)).toEqual([0, 0, 2]);
  });

  it('refuses another server that a token was not made for, and tells it no secret', async () => {
    const other = await startServer('other');
    const { status, stderr, stateDir } = enroll(await newToken(), other.deviceUrl);
    expect([status, stderr]).toEqual([1, expect.stringMatching(/SERVER_NOT_TRUSTED/)]);
    expect(existsSync(join(stateDir, 'identity'))).toBe(false);
    const { items } = await other.api.call('listDevices', { query: {} });
    expect(items).toEqual([]);
  });

  it('says what is wrong with an address', async () => {
    const token = await newToken();
    expect(enroll(token, 'http://localhost:1').stderr).toMatch(
      /CONFIG_INVALID: http:\/\/localhost:1 is not an https/,
    );
    const nobody = enroll(token, 'https://localhost:1');
    expect([nobody.status, nobody.stderr]).toEqual([3, expect.stringMatching(/UNREACHABLE.*localhost:1/)]);
  });
});

describe('an enrolled device', () => {
  let stateDir: string;
  let device: string;
  const agentEnv = () => clean({ SKEIN_AGENT_STATE_DIR: stateDir, SKEIN_AGENT_PORT: '0' });
  const runAgent = (env = agentEnv()) =>
    startDaemon({
      name: 'agent',
      args: [AGENT, 'run'],
      env,
      logFile: join(folder, 'agent.log'),
      readyWithinMs: 60_000,
    });
  const online = async () => (await server.api.call('showDevice', { params: { id: device } })).online;

  beforeAll(async () => {
    const enrolled = enroll(await newToken());
    ({ stateDir } = enrolled);
    ({ device } = JSON.parse(enrolled.stdout));
  });

  it('comes online, answers its own commands, and goes offline within three seconds of a SIGTERM', async () => {
    const agent = await runAgent();
    daemons.push(agent);
    await expect.poll(online, { timeout: 15_000 }).toBe(true);
    const status = command([AGENT, 'status', '-o', 'json'], agentEnv());
    expect(JSON.parse(status.stdout)).toMatchObject({ device, connected: true, models: [] });
    expect(command([AGENT, 'buffer'], agentEnv()).stdout).toMatch(/^STREAM +OBSERVED +ACCEPTED/m);
    const doctor = command([AGENT, 'doctor', '-o', 'json'], agentEnv());
    const findings = JSON.parse(doctor.stdout) as { check: string; result: string; detail: string }[];
    expect(findings.filter((finding) => finding.result === 'failed')).toEqual([]);
    expect(findings.map((finding) => finding.check)).toContain('broker');
    const asked = performance.now();
    expect(await stopDaemon(agent)).toBe(0);
    expect(performance.now() - asked).toBeLessThan(3_000);
    await expect.poll(online, { timeout: 5_000 }).toBe(false);
    expect(command([AGENT, 'status'], agentEnv()).status).toBe(3);
  });

  it('runs once per state directory', async () => {
    const agent = await runAgent();
    daemons.push(agent);
    const second = command([AGENT, 'run'], agentEnv());
    expect([second.status, second.stderr]).toEqual([
      2,
      expect.stringMatching(/CONFLICT: another skein-agent runs/),
    ]);
    const port = new URL((agent.ready as { api: string }).api).port;
    agent.child.kill('SIGKILL');
    await agent.exited;
    const third = await runAgent(clean({ ...agentEnv(), SKEIN_AGENT_PORT: port }));
    daemons.push(third);
    expect(third.ready).toMatchObject({ ready: true, ports: { agent: Number(port) } });
    await stopDaemon(third);
  });

  it('is refused after it was revoked', async () => {
    await server.api.call('revokeDevice', { params: { id: device }, body: {} });
    const doctor = command([AGENT, 'doctor', '-o', 'json'], agentEnv());
    expect(doctor.status).toBe(1);
    const findings = JSON.parse(doctor.stdout) as { check: string; result: string }[];
    expect(findings).toContainEqual(expect.objectContaining({ check: 'server', result: 'failed' }));
  });
});

describe('an erased device', () => {
  it('leaves nothing on its disk; the agent that runs is ended first', async () => {
    const { stateDir, stdout } = enroll(await newToken());
    const env = clean({ SKEIN_AGENT_STATE_DIR: stateDir, SKEIN_AGENT_PORT: '0' });
    const logFile = join(folder, 'erased.log');
    const agent = await startDaemon({
      name: 'agent',
      args: [AGENT, 'run'],
      env,
      logFile,
      readyWithinMs: 60_000,
    });
    daemons.push(agent);
    const erased = command([AGENT, 'erase', '--yes', '--stop', '-o', 'json'], env);
    expect(erased.status, erased.stderr).toBe(0);
    expect(await agent.exited).toEqual({ code: 0, signal: null });
    const report = JSON.parse(erased.stdout) as {
      device: string;
      removed: { kind: string }[];
      left: string[];
    };
    expect(report).toMatchObject({ device: JSON.parse(stdout).device, left: [] });
    expect(report.removed.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['identity', 'buffer', 'trust']),
    );
    expect(readdirSync(stateDir)).toEqual([]);
  });
});

describe('a command without what it needs', () => {
  it('says so with its own exit code', () => {
    const empty = clean({ SKEIN_AGENT_STATE_DIR: join(folder, 'nothing') });
    const run = command([AGENT, 'run'], empty);
    expect([run.status, run.stderr]).toEqual([
      3,
      expect.stringMatching(/NOT_ENROLLED.*\n.*skein-agent enroll/),
    ]);
    const bad = join(folder, 'bad.yaml');
    writeFileSync(bad, 'uplink:\n  batchInterval: fast\n');
    const config = command([AGENT, 'run', '--config', bad], clean());
    expect([config.status, config.stderr]).toEqual([
      2,
      expect.stringMatching(/bad\.yaml:2: uplink\.batchInterval/),
    ]);
    expect(command([AGENT, 'run', '--config', join(folder, 'none.yaml')], clean()).status).toBe(2);
    expect(command([AGENT, 'fly'], clean()).status).toBe(2);
    expect(command([AGENT, '--help'], clean())).toMatchObject({ status: 0 });
  });
});
