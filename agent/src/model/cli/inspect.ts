import { Command } from 'commander';
import { runInspect } from '../run-inspect.ts';
import { type OutputOption, output } from './options.ts';
import { show } from './output.ts';

export const inspectCommand = (): Command =>
  new Command('inspect')
    .description('Show what a model is made of and what stands in its way')
    .argument('<model>', 'MODEL.onnx or a bundle')
    .addOption(output())
    .action(async (model: string, options: OutputOption) => {
      show(options.output === 'json', await runInspect(model));
    });
