/** A whole fleet server on free ports with its state in a temporary folder, and ways to talk to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiKey } from '@skein/fleet-server/access/sessions.ts';
import { type Config, resolveConfig } from '@skein/fleet-server/config.ts';
import { realAdapters } from '@skein/fleet-server/main.ts';
import { type RunningServer, startServer } from '@skein/fleet-server/server.ts';
import { systemClock, systemEntropy } from '@skein/fleet-server/system-clock.ts';
import type { EnrolAnswer, Role } from '@skein/protocol/api.ts';
import { connectClient, makeRequest, silent, type TestClient } from '../contracts/broker-parties.ts';

export interface Answer<T = Record<string, unknown>> {
  status: number;
  body: T;
  headers: Record<string, string | string[] | undefined>;
}

export interface EnrolledDevice extends EnrolAnswer {
  key: string;
  connect(): Promise<TestClient>;
}

export interface TestServer {
  running: RunningServer;
  config: Config;
  stateDir: string;
  keys: Record<Role, string>;
  /** A request of a person; as admin unless told otherwise. */
  people(
    method: string,
    path: string,
    given?: { body?: unknown; role?: Role; headers?: object },
  ): Promise<Answer>;
  /** A request to the devices' port. */
  device(
    method: string,
    path: string,
    given?: { body?: unknown; tls?: { key: string; cert: string } },
  ): Promise<Answer>;
  token(options?: object): Promise<string>;
  enrol(token?: string): Promise<EnrolledDevice>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

export async function startTestServer(env: Record<string, string> = {}): Promise<TestServer> {
  const stateDir = mkdtempSync(join(tmpdir(), 'skein-server-'));
  const config = resolveConfig(undefined, {
    SKEIN_STATE_DIR: stateDir,
    SKEIN_HTTP_PORT: '0',
    SKEIN_DEVICE_PORT: '0',
    SKEIN_MQTTS_PORT: '0',
    SKEIN_MQTT_PORT: '0',
    SKEIN_DEVICE_HOST: '127.0.0.1',
    ...env,
  });
  const boot = () => startServer(config, { ...realAdapters, log: silent });
  let running = await boot();
  const keys = {} as Record<Role, string>;
  for (const role of ['viewer', 'operator', 'publisher', 'admin'] as const) {
    keys[role] = await createApiKey(running.store, { name: role, role }, systemClock, systemEntropy);
  }
  const server: TestServer = {
    config,
    stateDir,
    keys,
    get running() {
      return running;
    },
    async people(method, path, { body, role = 'admin', headers = {} } = {}) {
      const response = await fetch(`http://127.0.0.1:${running.ports.http}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${keys[role]}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      return {
        status: response.status,
        body: parse(text),
        headers: Object.fromEntries(response.headers),
      };
    },
    device: (method, path, given = {}) => deviceRequest(running.ports.device, method, path, given),
    async token(options = {}) {
      const { body } = await server.people('POST', '/v1/tokens', { body: options });
      return body.token as string;
    },
    enrol: async (token) => enrolDevice(server, token ?? (await server.token())),
    async restart() {
      await running.close();
      running = await boot();
    },
    async close() {
      await running.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
  return server;
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return { text };
  }
}

function deviceRequest(
  port: number,
  method: string,
  path: string,
  { body, tls }: { body?: unknown; tls?: { key: string; cert: string } },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port, path, method, rejectUnauthorized: false, agent: false, ...tls },
      (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += String(chunk);
        });
        response.on('end', () =>
          resolve({ status: response.statusCode!, body: parse(text), headers: response.headers }),
        );
      },
    );
    outgoing.on('error', reject);
    if (body !== undefined) outgoing.setHeader('content-type', 'application/json');
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Signed roots as far as enrolment is concerned: bytes that a device would pin. */
export async function putTestRoots(server: TestServer): Promise<void> {
  for (const repo of ['image', 'director']) {
    await server.running.store
      .insertInto('trust_documents')
      .values({ repo, role: 'root', version: 1, bytes: Buffer.from(`{"root of":"${repo}"}`), created_at: 1 })
      .execute();
  }
}

async function enrolDevice(server: TestServer, token: string): Promise<EnrolledDevice> {
  const { key, csr } = await makeRequest();
  const [id, secret] = token.split('.');
  const answer = await server.device('POST', '/v1/enrol', {
    body: { token: `${id}.${secret}`, reportKey: 'ab'.repeat(32), csr, name: 'bench' },
  });
  if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
  const enrolled = answer.body as unknown as EnrolAnswer;
  return {
    ...enrolled,
    key,
    connect: () =>
      connectClient(`mqtts://localhost:${server.running.ports.mqtts}`, {
        key,
        cert: enrolled.certificate,
        ca: enrolled.ca,
        clientId: enrolled.device,
      }),
  };
}
