/**
 * What people and other machines get wrong, through the real programs: each is refused with a stable code, and the
 * words say what to do. The finer cases of each are unit tests beside the module that refuses.
 */
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { FIRST_PREDICTION } from '@skein/agent/first-prediction.ts';
import type { StreamLedger } from '@skein/agent/outbox/port.ts';
import { readLedger } from '@skein/agent/outbox/sqlite-outbox-ledger.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import mqtt from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import hostManifest from '../../models/host/bundle/manifest.json' with { type: 'json' };
import { stopDaemon } from '../../scripts/processes.ts';
import {
  AGENT,
  agentApi,
  type Flow,
  openFlow,
  ROOT,
  runProgram,
  type Said,
  ServerFile,
  until,
} from './operator.ts';

const SERVER = join(ROOT, 'fleet-server/src/main.ts');
const MODEL = join(ROOT, 'agent/src/model/cli.ts');
const BUNDLE = join(ROOT, 'models/host/bundle-1.1.0');
let flow: Flow;
let devices = 0;

beforeAll(async () => {
  flow = await openFlow('bad-input');
});
afterAll(() => flow?.close());

/** Exit code, code, what is wrong and what to do: the last is a line of its own. */
function expectRefusal(
  { status, stderr }: Said,
  exit: number,
  code: string,
  what: RegExp,
  fix: RegExp,
): void {
  expect(stderr).toMatch(new RegExp(`^${code}: `, 'm'));
  expect(stderr).toMatch(what);
  expect(stderr.split('\n').find((line) => line.startsWith('  → '))).toMatch(fix);
  expect(stderr).not.toMatch(/ at .*\.ts:\d+/);
  expect(status).toBe(exit);
}

const clean = (env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: flow.folder,
  NODE_NO_WARNINGS: '1',
  ...env,
});

describe('a configuration', () => {
  // biome-ignore format: the table is read by its columns
  it.each([
    ['that is no YAML',            'uplink: [1,\n',                        'fleet: [a\n'],
    ['with an unknown key',        'uplink:\n  batchIntervall: 1s\n',      'fleet: lab\nhtpPort: 80\n'],
    ['with a value in wrong units', 'outbox:\n  commitInterval: 5 lightyears\n', 'fleet: lab\nmaxPacket: 1MB\n'],
  ])('%s is refused by agent and server, with file and line', async (_, agentYaml, serverYaml) => {
    const file = (name: string, text: string) => {
      writeFileSync(join(flow.folder, name), text);
      return join(flow.folder, name);
    };
    const [agent, server] = await Promise.all([
      runProgram(AGENT, ['run', '--config', file('bad-agent.yaml', agentYaml)], clean()),
      runProgram(SERVER, ['--config', file('bad-server.yaml', serverYaml)], clean({ SKEIN_STATE_DIR: flow.folder })),
    ]);
    expectRefusal(agent, 2, 'CONFIG_INVALID', /bad-agent\.yaml:\d/, /\w/);
    expect(server.status).not.toBe(0);
    expect(server.stderr).toMatch(/CONFIG_INVALID: .*bad-server\.yaml:\d.*\n {2}→ \w/);
  });
});

describe('input of a wrong shape, or that is not a number', () => {
  const infer = async (input: object) => {
    const url = `${agentApi(flow.stack.stateDir)}/v2/models/host/infer`;
    const response = await fetch(url, { method: 'POST', body: JSON.stringify({ inputs: [input] }) });
    return { status: response.status, body: await response.json() };
  };
  const window = (shape: number[], value: number | null = 0) => ({
    name: 'window',
    datatype: 'FP32',
    shape,
    data: Array(shape.reduce((a, b) => a * b, 1)).fill(value),
  });

  it('is refused at the desk', async () => {
    const said = await runProgram(MODEL, ['try', BUNDLE, '1,2,3'], clean());
    expectRefusal(said, 1, 'TENSOR_INVALID', /3 values given, the model takes 31 features/, /cpu_user, /);
  });

  it('is refused by the running model, which goes on', async () => {
    expect(await infer(window([1, 155]))).toMatchObject({ status: 200 });
    for (const shape of [[1, 3], [155], [0, 155]]) {
      expect(await infer(window(shape)), String(shape)).toMatchObject({
        status: 400,
        body: {
          code: 'TENSOR_INVALID',
          error: expect.stringContaining('window'),
          fix: expect.stringMatching(/\w/),
        },
      });
    }
    expect(await infer(window([1, 155], null))).toMatchObject({
      status: 400,
      body: {
        code: 'INPUT_NOT_FINITE',
        error: expect.stringContaining('window'),
        fix: expect.stringMatching(/\w/),
      },
    });
    expect(await infer(window([1, 155]))).toMatchObject({ status: 200 });
  });

  it('is refused on the command line of the device', async () => {
    const env = clean({ SKEIN_STATE_DIR: join(flow.stack.stateDir, 'agent') });
    const few = await runProgram(AGENT, ['predict', 'host', '1', '2', '3'], env);
    expectRefusal(few, 2, 'REQUEST_INVALID', /3 values, the model takes 31/, /In this order: cpu_user/);
    const nan = await runProgram(AGENT, ['predict', 'host', 'NaN'], env);
    expectRefusal(nan, 2, 'REQUEST_INVALID', /“NaN” is not a number/, /Give numbers/);
  });
});

describe('a bundle', () => {
  const copy = (name: string) => {
    const path = join(flow.folder, name);
    cpSync(BUNDLE, path, { recursive: true });
    const manifest = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8')) as Manifest;
    return { path, manifest, model: join(path, 'blobs', manifest.variants[0]!.file.sha256) };
  };

  it('that is cut short is refused before anything is signed', async () => {
    const { path, model } = copy('truncated');
    truncateSync(model, 1_000);
    const published = await flow.operator.skein('models', 'publish', path);
    expectRefusal(published, 1, 'BUNDLE_TRUNCATED', /has 1000 of its \d+ bytes/, /Copy the bundle again/);
    const verified = await runProgram(MODEL, ['verify', path], clean());
    expectRefusal(verified, 1, 'BUNDLE_TRUNCATED', /only 1000 bytes/, /Copy the bundle again/);
    expect(await flow.operator.json('models', 'list')).toHaveLength(1);
  });

  it('with a blob or a manifest that was changed is refused before anything is signed', async () => {
    const { path, model, manifest } = copy('tampered');
    const bytes = readFileSync(model);
    bytes[500]! ^= 1;
    writeFileSync(model, bytes);
    expectRefusal(
      await flow.operator.skein('models', 'publish', path),
      1,
      'BLOB_MISMATCH',
      /blob|bytes/,
      /\w/,
    );
    writeFileSync(join(path, 'manifest.json'), JSON.stringify({ ...manifest, run: 'rm -rf /' }));
    expectRefusal(
      await flow.operator.skein('models', 'publish', path),
      1,
      'MANIFEST_INVALID',
      /unknown keys: run/,
      /Pack the model again/,
    );
    expect(await flow.operator.json('models', 'list')).toHaveLength(1);
  });

  it('whose manifest is changed at the server after it was signed is refused by the device', async () => {
    const { manifestSha256 } = await flow.operator.json<{ manifestSha256: string }>(
      'models',
      'publish',
      BUNDLE,
    );
    const blob = storedBlob(manifestSha256);
    const text = readFileSync(blob, 'utf8');
    writeFileSync(blob, text.replace('"threshold":2', '"threshold":9'));
    const { id } = await flow.operator.rollOut(BUNDLE, 'host@1.1.0');
    expect(await flow.ended(id)).toMatchObject({
      state: 'halted',
      targets: [{ state: 'failed', reason: 'BLOB_MISMATCH' }],
    });
    const device = await flow.stack.api.call('showDevice', { params: { id: flow.device } });
    expect(device).toMatchObject({ online: true, installed: [{ model: 'host', version: '1.0.0' }] });
    // Once the server has the right bytes again the same version can be rolled out.
    writeFileSync(blob, text);
    const again = await flow.operator.rollOut(BUNDLE, 'host@1.1.0');
    expect(await flow.ended(again.id)).toMatchObject({ state: 'done' });
  });

  function storedBlob(sha256: string): string {
    const folder = join(flow.stack.stateDir, 'server/blobs');
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    return join(folder, names.find((name) => name.endsWith(sha256))!);
  }
});

/** A device of its own that enrols and does no more. */
async function enroll(token: string) {
  const stateDir = join(flow.folder, `device-${devices++}`);
  const server = `https://localhost:${flow.stack.ports.device}`;
  const said = await runProgram(
    AGENT,
    ['enroll', '--server', server, '--token', token],
    clean({ SKEIN_AGENT_STATE_DIR: stateDir }),
  );
  return { stateDir, ...said };
}
const newToken = async (...options: string[]) =>
  flow.operator.json<{ token: string; expiresAt: number }>('tokens', 'create', ...options);

describe('a claim token', () => {
  it('that was used, that expired or of another server enrols nobody', async () => {
    const { token } = await newToken();
    expect((await enroll(token)).status).toBe(0);
    expectRefusal(await enroll(token), 2, 'TOKEN_USED', /has been used/, /skein tokens create/);

    const short = await newToken('--ttl', '1s');
    await until(Date.now, (now) => now > short.expiresAt);
    expectRefusal(await enroll(short.token), 2, 'TOKEN_EXPIRED', /expired at/, /skein tokens create/);

    const [id, secret, trust] = (await newToken()).token.split('.');
    const elsewhere = `${id}.${secret}.${trust!.split('').reverse().join('')}`;
    const wrong = await enroll(elsewhere);
    expectRefusal(
      wrong,
      1,
      'SERVER_NOT_TRUSTED',
      /not the one the claim token was made for/,
      /Check the address/,
    );
  });
});

describe('a device that speaks for another on MQTT', () => {
  it('is not let in under its name, is not heard on its topics, and hears nothing of it', async () => {
    const { token } = await newToken();
    const { stateDir, status } = await enroll(token);
    expect(status).toBe(0);
    const identity = JSON.parse(readFileSync(join(stateDir, 'identity/identity.json'), 'utf8'));
    const tls = { ca: identity.ca, cert: identity.certificate, key: identity.tlsKey };
    const connect = (clientId: string) =>
      mqtt.connectAsync(
        `mqtts://localhost:${flow.stack.ports.mqtts}`,
        { ...tls, clientId, reconnectPeriod: 0, protocolVersion: 4 },
        false,
      );
    await expect(connect(flow.device)).rejects.toThrow(/[Nn]ot authorized/);

    const client = await connect(identity.device);
    const granted = await client
      .subscribeAsync(topicFor('home', flow.device, 'ack'))
      .catch(() => [{ qos: 128 }]);
    expect(granted[0]!.qos).toBe(128);
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    client.on('error', () => undefined);
    const offline = JSON.stringify({ online: 0, session: 'x', boot: 'x', agentVersion: '0' });
    client.publish(topicFor('home', flow.device, 'status'), offline, { qos: 1, retain: true });
    await closed;

    const log = await until(
      () => readFileSync(join(flow.stack.stateDir, 'logs/server.log'), 'utf8'),
      (text) => text.includes('refused a publish'),
    );
    const refusals = log.split('\n').filter((line) => line.includes('refused a'));
    for (const words of ['refused a client id that is not the certificate’s', 'refused a publish']) {
      const line = refusals.find((text) => text.includes(words))!;
      expect(line).toContain(identity.device);
      expect(line).toContain(flow.device);
      expect(line).toContain('skein devices revoke');
    }
    const view = await flow.stack.api.call('showDevice', { params: { id: flow.device } });
    expect(view.online).toBe(true);
    const file = new ServerFile(flow.stack.stateDir);
    expect(file.records('predictions', identity.device)).toEqual([]);
    file.close();
  });
});

describe('the agent’s own port, when another program has it', () => {
  const folder = () => join(flow.stack.stateDir, 'agent');
  const agent = (...args: string[]) =>
    runProgram(
      AGENT,
      [...args, '--config', join(folder(), 'taken.yaml')],
      // Nobody is there: what it predicts stays in its buffer.
      clean({ SKEIN_DEVICE_URL: 'https://localhost:1', SKEIN_MQTT_URL: 'mqtts://localhost:1' }),
    );
  const predictions = (): StreamLedger =>
    readLedger(join(folder(), 'outbox.db')).find(({ stream }) => stream === 'predictions')!;

  it('is named with what to do, and what was predicted before it was missed is kept', async () => {
    await stopDaemon(flow.stack.agent);
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const { preprocess } = hostManifest as { preprocess: { features: string[] } };
    const reading = JSON.stringify(Object.fromEntries(preprocess.features.map((name) => [name, 0.5])));
    writeFileSync(join(folder(), 'waiting.jsonl'), `${reading}\n`.repeat(20));
    const waiting = '{ name: waiting, kind: jsonl, path: waiting.jsonl, model: host }';
    writeFileSync(
      join(folder(), 'taken.yaml'),
      `stateDir: .\napi: { port: ${port} }\nsources: [${waiting}]\n`,
    );
    const before = predictions();
    let ended = await agent('run');
    // A busy machine may take longer than a start waits for a prediction: then there is none to keep yet.
    for (let tries = 1; tries < 5 && !ended.stderr.includes(FIRST_PREDICTION); tries++)
      ended = await agent('run');
    other.close();
    expect(ended.stderr).toContain(FIRST_PREDICTION);
    expectRefusal(ended, 2, 'PORT_IN_USE', new RegExp(String(port)), /SKEIN_AGENT_PORT/);
    const after = predictions();
    expect(after.accepted).toBeGreaterThan(before.accepted);
    expect(after).toMatchObject({ unknown: 0, dropped: 0, lostAtServer: 0 });
    expect(after.stored + after.pending).toBe(after.accepted);
  });
});
