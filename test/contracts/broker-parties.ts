/** What a broker contract needs around the broker: a CA, device certificates, and MQTT clients that remember. */
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import type { ServerTls } from '@skein/fleet-server/fleet/authority.ts';
import { openX509Authority } from '@skein/fleet-server/fleet/x509-authority.ts';
import { systemClock } from '@skein/fleet-server/system-clock.ts';
import type { Log } from '@skein/protocol/ports.ts';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';

export const FLEET = 'lab';

export const silent: Log = { info: () => {}, warn: () => {}, error: () => {} };

export interface DeviceTls {
  key: string;
  cert: string;
  ca: string;
}

export interface Parties {
  folder: string;
  server: ServerTls;
  device(id: string): Promise<DeviceTls>;
  dispose(): void;
}

export async function createParties(): Promise<Parties> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-broker-'));
  const authority = await openX509Authority(join(folder, 'ca'), systemClock);
  return {
    folder,
    server: await authority.serverTls(['localhost', '127.0.0.1']),
    async device(id) {
      const { key, csr } = await makeRequest();
      const { certificate } = await authority.signDevice(csr, id);
      return { key, cert: certificate, ca: authority.ca };
    },
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A P-256 key and a PKCS#10 request for it, as an agent makes them. */
export async function makeRequest(): Promise<{ key: string; csr: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const keys = {
    privateKey: await crypto.subtle.importKey('pkcs8', der(pem), algorithm, true, ['sign']),
    publicKey: await crypto.subtle.importKey(
      'spki',
      pair.publicKey.export({ type: 'spki', format: 'der' }),
      algorithm,
      true,
      ['verify'],
    ),
  };
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=whatever',
    keys,
    signingAlgorithm: algorithm,
  });
  return { key: pem, csr: csr.toString('pem') };
}

const der = (pem: string) => createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });

export interface Received {
  topic: string;
  payload: string;
  retain: boolean;
}

export interface TestClient {
  mqtt: MqttClient;
  received: Received[];
  /** Resolves with the first message, past or future, that fits. */
  until(fits: (message: Received) => boolean, withinMs?: number): Promise<Received>;
  closed: Promise<void>;
}

/** Connects without ever reconnecting; refused connections reject. */
export async function connectClient(url: string, options: IClientOptions = {}): Promise<TestClient> {
  const received: Received[] = [];
  const waiting = new Set<() => void>();
  const mqtt = await connectAsync(
    url,
    {
      protocolVersion: 4,
      reconnectPeriod: 0,
      connectTimeout: 4_000,
      clientId: `test-${randomBytes(4).toString('hex')}`,
      ...options,
    },
    false,
  );
  mqtt.on('message', (topic, payload, { retain }) => {
    received.push({ topic, payload: payload.toString(), retain });
    for (const wake of waiting) wake();
  });
  mqtt.on('error', () => {});
  const closed = new Promise<void>((resolve) => mqtt.once('close', () => resolve()));
  return {
    mqtt,
    received,
    closed,
    until: (fits, withinMs = 5_000) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = received.find(fits);
          if (!found) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(found);
        };
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no such message within ${withinMs} ms; got ${JSON.stringify(received)}`));
        }, withinMs);
        waiting.add(look);
        look();
      }),
  };
}
