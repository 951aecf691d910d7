import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveConfig } from '@skein/fleet-server/config.ts';
import { realAdapters } from '@skein/fleet-server/main.ts';
import { startServer } from '@skein/fleet-server/server.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silent } from '../contracts/broker-parties.ts';

let stateDir: string;
const adapters = { ...realAdapters, log: silent };
const start = (env: Record<string, string>) =>
  startServer(
    resolveConfig(undefined, {
      SKEIN_STATE_DIR: stateDir,
      SKEIN_HTTP_PORT: '0',
      SKEIN_DEVICE_PORT: '0',
      SKEIN_MQTTS_PORT: '0',
      SKEIN_MQTT_PORT: '0',
      SKEIN_DEVICE_HOST: '127.0.0.1',
      ...env,
    }),
    adapters,
  );
const occupied = async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as { port: number }).port, free: () => server.close() };
};

beforeAll(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'skein-start-'));
});
afterAll(() => rmSync(stateDir, { recursive: true, force: true }));

describe('starting the server', () => {
  it.each(['SKEIN_HTTP_PORT', 'SKEIN_DEVICE_PORT', 'SKEIN_MQTTS_PORT', 'SKEIN_MQTT_PORT'])(
    'names port and variable when %s is taken, and leaves no other port open',
    async (variable) => {
      const [taken, other] = [await occupied(), await occupied()];
      const all = ['SKEIN_HTTP_PORT', 'SKEIN_DEVICE_PORT', 'SKEIN_MQTTS_PORT', 'SKEIN_MQTT_PORT'];
      const free = all.find((name) => name !== variable)!;
      other.free();
      const env = { [variable]: String(taken.port), [free]: String(other.port) };
      await expect(start(env)).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: `port ${taken.port} on 127.0.0.1 is in use (${variable})`,
        fix: expect.stringContaining(`set ${variable} to another port`),
        data: { port: taken.port, variable },
      });
      const probe = createServer().listen(other.port, '127.0.0.1');
      await once(probe, 'listening');
      probe.close();
      taken.free();
    },
  );

  it('keeps its certificates over restarts and makes a server certificate for another host name', async () => {
    const fetchTrust = async (port: number) => {
      const { connect } = await import('node:tls');
      return new Promise<{ names: string; issuer: string }>((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
          const certificate = socket.getPeerX509Certificate()!;
          resolve({ names: certificate.subjectAltName ?? '', issuer: certificate.issuer });
          socket.destroy();
        });
        socket.on('error', reject);
      });
    };
    const shown = async (env: Record<string, string>) => {
      const server = await start(env);
      const seen = await fetchTrust(server.ports.device);
      await server.close();
      return seen;
    };
    const first = await shown({});
    expect(await shown({})).toEqual(first);
    const moved = await shown({ SKEIN_PUBLIC_URL: 'https://fleet.example.org' });
    expect(moved.issuer).toBe(first.issuer);
    expect(moved.names).toContain('DNS:fleet.example.org');
  });
});
