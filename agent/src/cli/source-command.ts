/** `skein-agent source list` and `source test`. */

import { SkeinError } from '@skein/protocol/errors.ts';
import type { Command } from 'commander';
import { EXIT, type Output, print } from './output.ts';
import { readSettings } from './settings.ts';
import { sourcesText, sourceTestText, tallyHeader, tallyLine } from './tables.ts';

interface Options {
  config?: string;
  output: Output;
  seconds: string;
}

export const SOURCE_HELP = `
Examples:
  skein-agent source list
  skein-agent source test boiler                 a row a second, for ten seconds
  skein-agent source test cam1 --seconds 60
  skein-agent source test line -o json | jq .perSecond
  my-sensor | skein-agent source test piped      kind: stdin

It opens the source by itself: no daemon is needed and a running one is not disturbed, but a serial port or a camera
that only one program may open is busy while the daemon has it.
Exit codes: 0 readings came, 1 none came (the reason and what to do are printed), 2 wrong command or configuration.
`;

export function listSources(_options: unknown, command: Command): void {
  const { config, output } = command.optsWithGlobals<Options>();
  const { sources } = readSettings(config).config;
  print(sources, output, () => sourcesText(sources));
}

/** @param stopped resolves when a person has seen enough. */
export const testCommand =
  (stopped: () => Promise<void>) =>
  async (name: string, _options: unknown, command: Command): Promise<void> => {
    const { config, output, seconds } = command.optsWithGlobals<Options>();
    const { testSource } = await import('./source-test.ts');
    const rows = output === 'table';
    const say = (line: string) => rows && process.stdout.write(`${line}\n`);
    const report = await testSource({
      settings: readSettings(config),
      name,
      seconds: secondsOf(seconds),
      stopped: stopped(),
      begun(notes) {
        for (const note of notes) process.stderr.write(`${note}\n`);
        say(tallyHeader());
      },
      tick: (tally) => say(tallyLine(tally)),
    });
    print(report, output, () => sourceTestText(report));
    // What a source leaves open (standard input) must not hold the program.
    process.exit(report.readings > 0 ? EXIT.done : EXIT.failed);
  };

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 86_400) return seconds;
  throw new SkeinError('REQUEST_INVALID', `--seconds ${text}: must be more than 0 and at most 86400`, {
    fix: 'Like --seconds 30.',
  });
}
