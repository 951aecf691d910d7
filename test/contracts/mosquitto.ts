/** A real Mosquitto with the configuration that the README gives for an external broker. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Parties } from './broker-parties.ts';

export function findMosquitto(): string | undefined {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` };
  try {
    return execFileSync('sh', ['-c', 'command -v mosquitto'], { env, encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

export const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

export interface RunningMosquitto {
  mqtts: number;
  /** Plain, for the server in this test. */
  mqtt: number;
  pid: number;
  stop(): Promise<void>;
}

/** Devices: CN is the user name, and the ACL keeps each below its own topics. */
export async function startMosquitto(
  binary: string,
  parties: Pick<Parties, 'folder' | 'server'>,
  fleet: string,
): Promise<RunningMosquitto> {
  const [mqtts, mqtt] = [await freePort(), await freePort()];
  const file = (name: string, text: string) => {
    const path = join(parties.folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const up = ['status', 'hello', 'state', 'event', 'update', 'batch/#', 'reported', 'result'];
  const down = ['desired', 'reads', 'command', 'ack', 'status'];
  const acl = [
    'user server',
    'topic readwrite skein/#',
    ...up.map((channel) => `pattern write skein/v1/${fleet}/%u/${channel}`),
    ...down.map((channel) => `pattern read skein/v1/${fleet}/%u/${channel}`),
  ];
  const config = [
    'per_listener_settings true',
    `listener ${mqtts} 127.0.0.1`,
    `cafile ${file('m-ca.pem', parties.server.ca)}`,
    `certfile ${file('m-cert.pem', parties.server.cert)}`,
    `keyfile ${file('m-key.pem', parties.server.key)}`,
    'require_certificate true',
    'use_identity_as_username true',
    'use_username_as_clientid true',
    `acl_file ${file('m-acl', `${acl.join('\n')}\n`)}`,
    `listener ${mqtt} 127.0.0.1`,
    'allow_anonymous true',
    'user root',
  ];
  const path = file('mosquitto.conf', `${config.join('\n')}\n`);
  const child = spawn(binary, ['-c', path], { stdio: ['ignore', 'ignore', 'pipe'] });
  await untilRunning(child);
  return {
    mqtts,
    mqtt,
    pid: child.pid!,
    stop: () =>
      new Promise((resolve) => {
        // It forgets a SIGTERM that comes between "running" and its loop.
        const again = setInterval(() => child.kill('SIGTERM'), 100);
        child.once('exit', () => {
          clearInterval(again);
          resolve();
        });
        child.kill('SIGTERM');
      }),
  };
}

function untilRunning(child: ChildProcess): Promise<void> {
  let said = '';
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`mosquitto stopped (${code}): ${said}`)));
    child.stderr!.on('data', (chunk) => {
      said += String(chunk);
      if (/running/.test(said)) resolve();
    });
  });
}
