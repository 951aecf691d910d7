/** The fleet server as it ships, on free ports, with the state folder `DIR/server`, in a process of its own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Daemon, startDaemon } from '../processes.ts';

export interface LoadedServer {
  daemon: Daemon;
  mqtts: number;
  http: number;
  /** Processor time so far. */
  cpuSeconds(): number;
  /** Now, and the highest so far. */
  memoryBytes(): { rss: number; peak: number };
}

const TICKS_PER_SECOND = 100;

export async function startFleetServer(dir: string, env: NodeJS.ProcessEnv = {}): Promise<LoadedServer> {
  const daemon = await startDaemon({
    name: 'fleet server',
    args: [join(import.meta.dirname, '../../fleet-server/src/main.ts')],
    env: {
      ...process.env,
      SKEIN_STATE_DIR: join(dir, 'server'),
      SKEIN_DEVICE_HOST: '127.0.0.1',
      SKEIN_HTTP_PORT: '0',
      SKEIN_DEVICE_PORT: '0',
      SKEIN_MQTTS_PORT: '0',
      SKEIN_MQTT_PORT: '0',
      ...env,
    },
    logFile: join(dir, 'server.log'),
    readyWithinMs: 30_000,
  });
  const { mqtts, http } = daemon.ready.ports as { mqtts: number; http: number };
  const proc = `/proc/${daemon.child.pid}`;
  return {
    daemon,
    mqtts,
    http,
    cpuSeconds() {
      const fields = readFileSync(`${proc}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    },
    memoryBytes() {
      const status = readFileSync(`${proc}/status`, 'utf8');
      const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)![1]) * 1024;
      return { rss: of('VmRSS'), peak: of('VmHWM') };
    },
  };
}
