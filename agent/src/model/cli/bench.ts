import { Command } from 'commander';
import { type BenchReport, runBench } from '../run-bench.ts';
import { counts, number, type OutputOption, output, words } from './options.ts';
import { endProgress, printTable, progress, show } from './output.ts';

interface BenchCommand extends OutputOption {
  seconds: number;
  threads: number[];
  batch: number[];
  providers: string[];
  variant?: string;
}

const mib = (bytes: number): number => Math.round(bytes / 104_857.6) / 10;

function print({ rows, memory, left }: BenchReport): void {
  if (rows.length > 0) printTable(rows);
  console.log('');
  printTable(
    memory.map(({ batch, rssBytes, peakBytes, modelBytes }) => ({
      batch,
      'rss MiB': mib(rssBytes),
      'peak MiB': mib(peakBytes),
      'of it model MiB': mib(modelBytes),
    })),
  );
  for (const reason of left) console.error(`not measured: ${reason}`);
}

export const benchCommand = (): Command =>
  new Command('bench')
    .description('Measure latency, throughput and memory: raw session.run, inline and worker in turns')
    .argument('<model>', 'MODEL.onnx or a bundle')
    .option('--seconds <s>', 'time for each way', number, 2)
    .option('--threads <n,…>', 'intra-op threads', counts, [1])
    .option('--batch <n,…>', 'samples in one run', counts, [1])
    .option('--providers <name,…>', 'execution providers of the runtime', words, ['cpu'])
    .option('--variant <id>', 'of a bundle; its first when absent')
    .addOption(output())
    .addHelpText(
      'after',
      `
Latencies are in microseconds, on the same random inputs every time. Memory is that of a process which holds only the
runtime and the model.

Examples:
  skein-model bench resnet8.onnx
  skein-model bench bundle/ --variant int8 --threads 1,2 --batch 1,8 -o json

Exit codes: 0 measured, 1 failed or nothing could be measured, 2 wrong usage.`,
    )
    .action(async (model: string, options: BenchCommand) => {
      const { seconds, threads, batch, providers, variant } = options;
      const report = await runBench(model, {
        durationMs: seconds * 1000,
        threads,
        batches: batch,
        providers,
        variant,
        progress,
      });
      endProgress();
      if (options.output === 'json') show(true, report);
      else print(report);
      if (report.rows.length === 0) process.exitCode = 1;
    });
