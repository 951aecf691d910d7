import { Command, Option } from 'commander';
import { type PackCommand, runPack } from '../run-pack.ts';
import { count, list, number } from './options.ts';
import { endProgress, printTable, progress, show } from './output.ts';

export const packCommand = (): Command =>
  new Command('pack')
    .description('Make a bundle: manifest, float and int8 variants, golden vectors, drift profile')
    .argument('<model>', 'a float MODEL.onnx')
    .requiredOption('--name <name>', 'model name, lower case')
    .requiredOption('--version <version>', 'release, as 1.2.3')
    .requiredOption('--calibrate <data>', 'recorded readings in order of time; columns are the features')
    .requiredOption('-o, --out <path>', 'directory to write, or a file that ends in .skein')
    .option('--description <text>', 'one line for people', '')
    .option('--licence <id>', 'SPDX identifier', 'Apache-2.0')
    .option('--window <n>', 'readings a prediction looks at', count, 1)
    .option('--stride <n>', 'readings between two predictions', count, 1)
    .option('--scale', 'standardise features by the data (leave out when the graph scales)', false)
    .addOption(
      new Option('--on-missing <policy>', 'readings with missing values')
        .choices(['reject', 'flag', 'fill'])
        .default('reject'),
    )
    .addOption(
      new Option('--postprocess <kind>', 'meaning of the output; guessed from its shape').choices([
        'classify',
        'reconstruction',
        'regress',
      ]),
    )
    .option('--labels <labels>', 'a,b,c or a file with one a line')
    .option('--alarm-labels <labels>', 'labels that raise an alarm')
    .option('--softmax', 'the output holds logits', false)
    .option('--threshold <score>', 'reconstruction score that raises an alarm', number, 1)
    .option('--low <value>', 'regression below this raises an alarm', number)
    .option('--high <value>', 'regression above this raises an alarm', number)
    .option('--no-int8', 'pack the float model only')
    .option('--prefer-int8', 'put int8 first even where it measured slower', false)
    .option('--skip <nodes>', 'nodes that stay in float', list, [])
    .option('--reduce-range', 'seven-bit weights, for x86-64 without VNNI', false)
    .option('--drift-window <n>', 'readings in a drift window; 0 leaves drift out', count, 500)
    .option('--rate <hz>', 'readings a second, for the false-alarm budget', number, 1)
    .option('--trained-from <name>', 'lineage', list, [])
    .option('--json', 'print the report as JSON', false)
    .addHelpText(
      'after',
      `
Example:
  skein-model pack gas.onnx --name gas --version 1.0.0 --calibrate gas.csv \\
    --labels ethanol,ethylene,ammonia,acetaldehyde,acetone,toluene -o bundle/`,
    )
    .action(async (model: string, options: PackCommand & { json: boolean }) => {
      const report = await runPack(model, options, progress);
      endProgress();
      const { variants, quantization, windows } = report;
      if (options.json) return show(true, report);
      printTable(variants);
      console.log(`\n${windows} windows of calibration data; written to ${options.out}`);
      for (const { name, reason } of quantization?.floatNodes ?? [])
        console.log(`  ${name} stays in float: ${reason}`);
    });
