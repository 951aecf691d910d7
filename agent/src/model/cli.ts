#!/usr/bin/env node
/**
 * `skein-model`: the model tools. They run the device's own code, so what is tried at the desk is what runs there.
 * Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong usage.
 */
import { describeError } from '@skein/protocol/errors.ts';
import { Command, CommanderError } from 'commander';
import { benchCommand } from './cli/bench.ts';
import { diffCommand } from './cli/diff.ts';
import { inspectCommand } from './cli/inspect.ts';
import { endProgress } from './cli/output.ts';
import { packCommand } from './cli/pack.ts';
import { patchCommand } from './cli/patch.ts';
import { predictCommand } from './cli/predict.ts';
import { quantizeCommand } from './cli/quantize.ts';
import { tryCommand } from './cli/try.ts';
import { verifyCommand } from './cli/verify.ts';

const COMMANDS = [
  tryCommand,
  predictCommand,
  inspectCommand,
  quantizeCommand,
  packCommand,
  verifyCommand,
  benchCommand,
  diffCommand,
  patchCommand,
];

const program = new Command('skein-model')
  .description('Try, quantize, pack, check and patch ONNX models. No server and no keys are needed.')
  .exitOverride()
  .showHelpAfterError('(see skein-model --help)')
  .configureHelp({ showGlobalOptions: true });

for (const make of COMMANDS) program.addCommand(make().copyInheritedSettings(program));

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    endProgress();
    console.error(describeError(error));
    process.exitCode = 1;
  }
}
