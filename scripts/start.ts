/** `npm start`: the whole system on this machine, kept running until Ctrl-C. */
import { resolve } from 'node:path';
import { buildDashboard } from './dashboard.ts';
import { type Daemon, describeEnding } from './processes.ts';
import { type Stack, startStack } from './stack.ts';

const RESTART_MS = 1_000;

function progress(): (step: string) => void {
  const started = performance.now();
  return (step) => {
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    process.stderr.write(`skein: [${seconds.padStart(5)} s] ${step}\n`);
  };
}

/** As a service manager would: a daemon that dies by itself comes back. */
function keepRunning(name: 'server' | 'agent', stack: Stack, stopping: () => boolean): void {
  const watch = (daemon: Daemon): void => {
    void daemon.exited.then(async (ending) => {
      if (stopping()) return;
      process.stderr.write(
        `skein: the ${daemon.name} stopped (${describeEnding(ending)}); starting it again\n`,
      );
      await new Promise((wake) => setTimeout(wake, RESTART_MS));
      if (stopping()) return;
      await (name === 'server' ? stack.restartServer() : stack.restartAgent()).then(
        () => watch(stack[name]),
        (error: Error) => process.stderr.write(`skein: ${error.message}\n`),
      );
    });
  };
  watch(stack[name]);
}

/** Resolves at the first SIGINT, SIGTERM or SIGHUP. */
const untilAsked = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve());
  });

async function announce(stack: Stack): Promise<void> {
  const { url } = await stack.api.call('loginLink', { body: {} });
  process.stdout.write(
    `
Skein is running. Dashboard (the link works once; npx skein login makes another):

  ${url}

Try next, in another terminal in this folder:

  npx skein devices list
  npx skein monitor
  mosquitto_sub -h 127.0.0.1 -p ${stack.ports.mqtt} -t 'skein/#' -v

State is under ${stack.stateDir}. Ctrl-C stops everything; npm start carries on.
`,
  );
}

export async function run(args: string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write('npm start: a fleet server and an agent on this machine; state under ./.skein/\n');
    return 0;
  }
  const asked = untilAsked();
  let stopping = false;
  void asked.then(() => (stopping = true));
  const say = progress();
  if (await buildDashboard()) say('built the dashboard');
  const stack = await startStack({ stateDir: resolve(process.env.SKEIN_STATE_DIR ?? '.skein'), say });
  keepRunning('server', stack, () => stopping);
  keepRunning('agent', stack, () => stopping);
  if (!stopping) await announce(stack);
  await asked;
  process.stderr.write('\nskein: stopping…\n');
  await stack.stop();
  process.stderr.write('skein: stopped; nothing was lost\n');
  return 0;
}
