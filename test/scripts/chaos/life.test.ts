import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { type Beginning, Life } from '../../../scripts/chaos/life.ts';

/** Says when it hears nothing but SIGKILL any more. */
const DEAF = "process.on('SIGTERM', () => {}); process.stdout.write('deaf'); setInterval(() => {}, 1_000)";

function begin(): Beginning {
  const child = spawn(process.execPath, ['-e', DEAF], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  return { child, exited, ready: once(child.stdout, 'data') };
}

it('kills a process that does not mind being asked to end, once its grace is over', async () => {
  let deaths = 0;
  const life = new Life({ name: 'deaf', begin, whenDead: () => void deaths++ });
  life.start();
  await life.ready();
  await life.stop(50);
  expect({ deaths, pid: life.pid, kills: life.kills }).toEqual({ deaths: 1, pid: undefined, kills: 0 });
});
