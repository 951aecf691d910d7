/** Debian's Mosquitto behind the same mTLS as our own broker, storing nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { FleetState } from './fleet-state.ts';

export interface RunningBroker {
  port: number;
  stop(): Promise<void>;
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });

export async function startBroker(dir: string, { ca, server }: FleetState): Promise<RunningBroker> {
  const port = await freePort();
  const file = (name: string, text: string): string => {
    const path = join(dir, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const config = [
    'persistence false',
    'user root',
    `listener ${port} 127.0.0.1`,
    `cafile ${file('m-ca.pem', ca)}`,
    `certfile ${file('m-cert.pem', server.cert)}`,
    `keyfile ${file('m-key.pem', server.key)}`,
    'require_certificate true',
    'use_identity_as_username true',
    'set_tcp_nodelay true',
    'max_inflight_messages 0',
  ];
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const child = spawn('mosquitto', ['-c', file('m.conf', `${config.join('\n')}\n`)], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  for await (const said of child.stderr) if (String(said).includes('running')) break;
  return {
    port,
    async stop() {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
