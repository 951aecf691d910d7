import { Command } from 'commander';
import { runVerify } from '../run-inspect.ts';
import { type OutputOption, output } from './options.ts';
import { show } from './output.ts';

export const verifyCommand = (): Command =>
  new Command('verify')
    .description('Check a bundle: every hash, and the golden vectors on every variant')
    .argument('<bundle>', 'directory or .skein file')
    .addOption(output())
    .action(async (bundle: string, options: OutputOption) => {
      const verdicts = await runVerify(bundle);
      show(options.output === 'json', verdicts);
      if (verdicts.some(({ ok }) => !ok)) process.exitCode = 1;
    });
