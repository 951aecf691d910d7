import { Command } from 'commander';
import { runBench } from '../run-inspect.ts';
import { count, number, type OutputOption, output } from './options.ts';
import { show } from './output.ts';

export const benchCommand = (): Command =>
  new Command('bench')
    .description('Measure latency: raw session.run, inline and worker, in one run')
    .argument('<model>', 'MODEL.onnx or a bundle')
    .option('--seconds <s>', 'time for each way', number, 2)
    .option('--threads <n>', 'intra-op threads', count, 1)
    .addOption(output())
    .action(async (model: string, options: { seconds: number; threads: number } & OutputOption) => {
      show(options.output === 'json', await runBench(model, options.seconds * 1000, options.threads));
    });
