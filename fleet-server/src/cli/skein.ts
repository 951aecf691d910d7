#!/usr/bin/env node
/**
 * `skein`: the operator's command. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 server unreachable, 4 denied,
 * 5 held (a watched rollout waits for a person).
 * Tables for people, `-o json` for programs; errors go to standard error with what to do about them.
 */
import { asSkeinError, describeError } from '@skein/protocol/errors.ts';
import { Command, CommanderError, Option } from 'commander';
import { type CliContext, createContext } from './client.ts';
import { addServerCommands } from './commands.ts';
import { addMonitorCommand } from './monitor.ts';
import { addRolloutCommands } from './rollouts.ts';

export const EXIT = { done: 0, failed: 1, usage: 2, unreachable: 3, denied: 4 } as const;

const HELP = `
Examples:
  skein devices list                     all devices, with liveness, model and stored predictions
  skein devices list -o json | jq '.[] | select(.online | not).id'
  skein monitor                          live readings of the fleet
  skein tokens create --uses 10 --groups lab
  skein rollouts create --model host@1.1.0 --group lab --stages 1,100%
  skein why d-abc123                     one line: what it is waiting for

The server and the key come from SKEIN_URL and SKEIN_API_KEY, else from operator.json in SKEIN_STATE_DIR or ./.skein.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 server unreachable, 4 denied, 5 held: a watched rollout waits for a person.
`;

/** Groups that read signed documents: only a command of theirs waits for what that takes to load. */
const GROUPS: Readonly<Record<string, { description: string; load(): Promise<AddCommands> }>> = {
  keys: {
    description: 'Offline keys of the operator: roots and publishing',
    load: async () => (await import('./keys.ts')).addKeysCommands,
  },
  models: {
    description: 'Published models',
    load: async () => (await import('./publish.ts')).addPublishCommands,
  },
};
type AddCommands = (group: Command, ctx: CliContext) => void;

/** @param words of the command line: a group that it does not name has its name and description alone */
export async function createProgram(words: readonly string[]): Promise<Command> {
  const program = new Command('skein')
    .description('Runs quantized models on a fleet of edge devices and keeps the fleet honest')
    .addOption(new Option('-o, --output <form>', 'table or json').choices(['table', 'json']).default('table'))
    .addHelpText('after', HELP)
    .showHelpAfterError('(skein --help lists the commands)')
    .exitOverride();
  const output = () => program.opts<{ output: 'table' | 'json' }>().output;
  const context = createContext(output);
  addServerCommands(program, context);
  for (const [name, { description, load }] of Object.entries(GROUPS)) {
    const group = program.command(name).description(description);
    if (words.includes(name)) (await load())(group, context);
  }
  addRolloutCommands(program, context);
  addMonitorCommand(program, context);
  return program;
}

export function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.done : EXIT.usage;
  const { code } = asSkeinError(thrown);
  if (code === 'UNREACHABLE' || code === 'CONFIG_UNREADABLE') return EXIT.unreachable;
  if (code === 'UNAUTHENTICATED' || code === 'FORBIDDEN') return EXIT.denied;
  return code === 'REQUEST_INVALID' ? EXIT.usage : EXIT.failed;
}

if (import.meta.main) {
  // `skein … | head`: whoever read us has enough.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed);
  });
  try {
    const program = await createProgram(process.argv.slice(2));
    await program.parseAsync(process.argv);
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) process.stderr.write(`${describeError(thrown)}\n`);
    process.exitCode = exitCodeOf(thrown);
  }
}
