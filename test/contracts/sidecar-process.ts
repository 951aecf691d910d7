/** The reference sidecar as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../agent/examples/sidecar/sidecar.ts', import.meta.url));

export interface SidecarProcess {
  url: string;
  pid: number;
  /** SIGKILL, as a crash would end it. */
  kill(): Promise<void>;
  signal(name: NodeJS.Signals): void;
}

/** Resolves when it listens. */
export async function startSidecar(address: string, ...options: string[]): Promise<SidecarProcess> {
  const child: ChildProcess = spawn(process.execPath, [PROGRAM, address, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, NODE_NO_WARNINGS: '1' },
  });
  const [text] = (await once(child.stdout!, 'data')) as [Buffer];
  const url = /listening on (\S+)/.exec(text.toString())![1]!;
  return {
    url,
    pid: child.pid!,
    signal: (name) => void child.kill(name),
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}
