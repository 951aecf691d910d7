import { Command } from 'commander';
import { allPassed, type Check, runVerify } from '../run-verify.ts';
import { type OutputOption, output } from './options.ts';
import { show } from './output.ts';

interface VerifyCommand extends OutputOption {
  root?: string;
  metadata?: string;
}

const WORDS = { true: 'ok', false: 'FAILED', null: 'not checked' } as const;
const shown = ({ ok, check, subject, detail }: Check) => ({ result: WORDS[`${ok}`], check, subject, detail });

export const verifyCommand = (): Command =>
  new Command('verify')
    .description('Check a bundle: manifest, every hash, every variant on the golden vectors, signatures')
    .argument('<bundle>', 'directory or .skein file')
    .option('--root <file>', 'a root of the image repository that is trusted')
    .option('--metadata <dir>', 'its metadata: timestamp.json, N.snapshot.json, N.targets.json')
    .addOption(output())
    .addHelpText(
      'after',
      `
Examples:
  skein-model verify bundle/
  skein-model verify model.skein -o json
  skein-model verify bundle/ --root 1.root.json --metadata metadata/

Exit codes: 0 every check passed (variants for other hardware are not checked, and said), 1 one failed, 2 wrong usage.`,
    )
    .action(async (bundle: string, { root, metadata, output: form }: VerifyCommand, command: Command) => {
      if ((root === undefined) !== (metadata === undefined))
        command.error('error: --root and --metadata are given together', { exitCode: 2, code: 'usage' });
      const checks = await runVerify(bundle, { root, metadata, now: Date.now() });
      show(form === 'json', form === 'json' ? checks : checks.map(shown));
      if (allPassed(checks)) return;
      process.exitCode = 1;
      const told = checks.find(({ fix }) => fix !== undefined);
      if (told) console.error(`${told.detail}\n  → ${told.fix}`);
    });
