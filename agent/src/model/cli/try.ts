import { Command } from 'commander';
import { runTry } from '../run-try.ts';
import { type OutputOption, output } from './options.ts';
import { show } from './output.ts';

export const tryCommand = (): Command =>
  new Command('try')
    .description('Run a model on inputs and print what it says')
    .argument('<model>', 'MODEL.onnx, or a bundle (then labels and scores as on the device)')
    .argument('<input...>', 'numbers (1,2,3) or files: .csv .json .jsonl .npy .npz .dat IDX .u8 .jpg .png')
    .addOption(output())
    .addHelpText(
      'after',
      `
Examples:
  skein-model try gas.onnx readings.csv
  skein-model try mnist.onnx t10k-images-idx3-ubyte.gz -o json
  skein-model try tiny.onnx 0.1,0.2,0.3
  skein-model try models/host/bundle features.csv

Exit codes: 0 answered, 1 a sample was refused (predict goes on after it), 2 wrong usage.`,
    )
    .action(async (model: string, inputs: string[], options: OutputOption) => {
      show(options.output === 'json', await runTry(model, inputs));
    });
