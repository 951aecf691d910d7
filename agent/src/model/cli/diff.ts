import { Command } from 'commander';
import { diffFiles } from '../disk-patch.ts';
import { bytesProgress, endProgress, show } from './output.ts';

export const diffCommand = (): Command =>
  new Command('diff')
    .description('Make a patch from one version of a model to the next')
    .argument('<old>', 'the file that a device has')
    .argument('<new>', 'the file it is to get')
    .requiredOption('-o, --out <file>', 'where the patch is written')
    .option('--json', 'print the figures as JSON', false)
    .addHelpText(
      'after',
      `
Weights of an ONNX model are coded as what changed of each number, so a fine-tune costs a part of its size; tensors that
did not change cost nothing. Any other file is matched byte by byte. When no patch is smaller than the new file, the
patch holds the file itself, and says so. Both files are read into memory.

Examples:
  skein-model diff gas-1.0.0.onnx gas-1.1.0.onnx -o gas.skd
  skein-model diff old.onnx new.onnx -o new.skd --json

Exit codes: 0 written, 1 failed, 2 wrong usage.`,
    )
    .action(async (old: string, now: string, { out, json }: { out: string; json: boolean }) => {
      const facts = await diffFiles({ old, now, patch: out }, bytesProgress('coded'));
      endProgress();
      const share = Number((facts.patchBytes / facts.newBytes).toFixed(4));
      show(json, { ...facts, share, written: out });
    });
