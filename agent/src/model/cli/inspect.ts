import { Command } from 'commander';
import { type Inspection, runInspect } from '../run-inspect.ts';
import { type OutputOption, output } from './options.ts';
import { printRecord, printTable, show } from './output.ts';

const percent = (share: number): string => `${(share * 100).toFixed(1)}%`;

function print({ bundle, problems, largestWeights, sparsity, macs, ...facts }: Inspection): void {
  if (bundle) {
    const { variants, quantization, ...rest } = bundle;
    printRecord({ ...rest, quantization: quantization ?? 'none' });
    console.log('');
    printTable(variants);
    console.log('');
  }
  printRecord({ ...facts, macs: macs ?? 'not known', sparsity: percent(sparsity) });
  if (largestWeights.length > 0) {
    console.log('');
    const rows = largestWeights.map((row) => ({ ...row, sparsity: percent(row.sparsity) }));
    printTable(rows.map(({ name, ...row }) => ({ 'largest weights': name, ...row })));
  }
  console.log('');
  for (const problem of problems) console.log(`! ${problem}`);
  if (problems.length === 0) console.log('no problems found');
}

export const inspectCommand = (): Command =>
  new Command('inspect')
    .description('Show what a model is made of and what stands in its way')
    .argument('<model>', 'MODEL.onnx, also one that the runtime refuses, or a bundle')
    .option('--variant <id>', 'of a bundle; its first when absent')
    .addOption(output())
    .addHelpText(
      'after',
      `
Examples:
  skein-model inspect resnet8.onnx
  skein-model inspect bundle/ --variant fp32 -o json

Exit codes: 0 inspected (problems are listed, they are no failure), 1 not an ONNX model or not readable, 2 wrong usage.`,
    )
    .action(async (model: string, options: { variant?: string } & OutputOption) => {
      const inspection = await runInspect(model, options.variant);
      if (options.output === 'json') show(true, inspection);
      else print(inspection);
    });
