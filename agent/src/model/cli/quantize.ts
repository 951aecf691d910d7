import { Command } from 'commander';
import { type QuantizeCommand, runQuantize } from '../run-quantize.ts';
import { list } from './options.ts';
import { endProgress, progress, show } from './output.ts';

export const quantizeCommand = (): Command =>
  new Command('quantize')
    .description('Write a static int8 model, calibrated on data, and measure it against the float one')
    .argument('<model>', 'a float MODEL.onnx')
    .requiredOption('--calibrate <data>', 'inputs as the model will see them')
    .requiredOption('-o, --out <file>', 'the int8 model to write')
    .option('--skip <nodes>', 'nodes that stay in float, by name, comma-separated', list, [])
    .option('--reduce-range', 'seven-bit weights, for x86-64 without VNNI', false)
    .option('--json', 'print the report as JSON', false)
    .addHelpText(
      'after',
      '\nExample:\n  skein-model quantize resnet8.onnx --calibrate images.u8.gz -o resnet8-int8.onnx',
    )
    .action(async (model: string, options: QuantizeCommand & { json: boolean }) => {
      const report = await runQuantize(model, options, progress);
      endProgress();
      show(options.json, report);
    });
