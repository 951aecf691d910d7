/** The project's own commands: one program with subcommands. Each module is loaded only when it is asked for. */
import { describeError } from '@skein/protocol/errors.ts';

interface Command {
  summary: string;
  load: () => Promise<{ run: (args: string[]) => Promise<number> }>;
}

const COMMANDS: Record<string, Command> = {
  start: { summary: 'a fleet server and an agent on this machine', load: () => import('./start.ts') },
  test: { summary: 'everything that CI runs (--long: the full figures)', load: () => import('./test.ts') },
  bench: { summary: 'measure NAME against its limit or peer (--json)', load: () => import('./bench.ts') },
  simulate: {
    summary: 'a seeded world of devices (--seed N --devices N)',
    load: () => import('./simulate.ts'),
  },
  chaos: {
    summary: 'real processes under faults, audited (--minutes N --seed S)',
    load: () => import('./chaos.ts'),
  },
  record: {
    summary: 'record this machine’s counters at 1 Hz to a CSV file',
    load: () => import('./record.ts'),
  },
  train: { summary: 'train, quantize and pack the host model', load: () => import('./train.ts') },
  contracts: {
    summary: 'write the published contracts to test/golden',
    load: () => import('./contracts.ts'),
  },
  release: { summary: 'build the agent’s packages', load: () => import('./release.ts') },
};

const usage = (): string =>
  Object.entries(COMMANDS)
    .map(([name, { summary }]) => `  npm run ${name.padEnd(10)} ${summary}`)
    .join('\n');

// Also where onnxruntime is run as anybody would, to compare with: see agent/src/inference/onnx-runtime.ts.
process.env.ORT_DISABLE_TELEMETRY = '1';

async function main([name = '', ...args]: string[]): Promise<number> {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) {
    process.stderr.write(`Usage:\n${usage()}\n`);
    return 2;
  }
  return (await command.load()).run(args);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  if (process.env.SKEIN_DEBUG) console.error(error);
  process.exitCode = 1;
}
