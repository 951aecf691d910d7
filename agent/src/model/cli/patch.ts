import { MAX_SIZE } from '@skein/protocol/delta/format.ts';
import { Command } from 'commander';
import { patchFile } from '../disk-patch.ts';
import { count } from './options.ts';
import { bytesProgress, endProgress, show } from './output.ts';

interface PatchOptions {
  out: string;
  maxBytes: number;
  json: boolean;
}

export const patchCommand = (): Command =>
  new Command('patch')
    .description('Make the next version of a model from the one before and a patch')
    .argument('<old>', 'the very file the patch was made from')
    .argument('<patch>', 'what `skein-model diff` wrote')
    .requiredOption('-o, --out <file>', 'where the new file is written')
    .option('--max-bytes <count>', 'refuse a larger result', count, MAX_SIZE)
    .option('--json', 'print the figures as JSON', false)
    .addHelpText(
      'after',
      `
The new file appears under its name only when its hash is the one the patch was made for. Memory stays below 16 MB
whatever the sizes. The hash in a patch tells damage, not intent: compare \`sha256\` with one you trust.

Examples:
  skein-model patch gas-1.0.0.onnx gas.skd -o gas-1.1.0.onnx
  skein-model patch old.onnx new.skd -o new.onnx --max-bytes 50000000 --json

Exit codes: 0 written, 1 refused or failed (nothing is written), 2 wrong usage.`,
    )
    .action(async (old: string, patch: string, { out, maxBytes, json }: PatchOptions) => {
      const facts = await patchFile({ old, patch, now: out }, maxBytes, bytesProgress('made'));
      endProgress();
      show(json, { ...facts, written: out });
    });
