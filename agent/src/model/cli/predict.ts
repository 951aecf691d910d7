import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import { Command, Option } from 'commander';
import { readLabels } from '../data/disk-labels.ts';
import { type PredictOptions, type PredictSummary, runPredict } from '../run-predict.ts';
import { count, positive } from './options.ts';
import { endProgress, progressOf } from './output.ts';
import { readPreprocess } from './preprocess-file.ts';

interface PredictCommand extends Omit<PredictOptions, 'labels' | 'preprocess' | 'format'> {
  out?: string;
  format?: PredictOptions['format'];
  labels?: string;
  preprocess?: string;
}

const STOPPED_BY_SIGNAL = 130;

/** Lines to a file or to standard output; a reader that goes away ends the work, it is no error. */
function writerTo(path: string | undefined, stop: AbortController) {
  const stream = path ? createWriteStream(path) : process.stdout;
  let failure: Error | undefined;
  const broken = new AbortController();
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') failure = error;
    stop.abort(error.code);
    broken.abort();
  });
  return {
    async write(text: string): Promise<void> {
      if (text === '' || broken.signal.aborted || stream.write(text)) return;
      // Rejects when nobody reads any more; then there is nothing to wait for.
      await once(stream, 'drain', { signal: broken.signal }).catch(() => undefined);
    },
    async end(): Promise<void> {
      if (path && !failure) await new Promise<void>((resolve) => stream.end(resolve));
      if (failure)
        throw new SkeinError('REQUEST_INVALID', `${path} can not be written: ${failure.message}`, {
          cause: failure,
        });
    },
  };
}

function summarise({ predicted, failed, problems, accuracy, notes, stopped }: PredictSummary): void {
  for (const problem of problems) console.error(problem);
  if (failed > problems.length) console.error(`… and ${failed - problems.length} more`);
  for (const note of notes) console.error(note);
  const right = accuracy === null ? '' : `, accuracy ${(accuracy * 100).toFixed(2)}%`;
  if (process.stderr.isTTY || failed > 0 || stopped || accuracy !== null)
    console.error(`${stopped ? 'stopped after ' : ''}${predicted} predicted, ${failed} failed${right}`);
}

async function predict(model: string, files: string[], options: PredictCommand): Promise<void> {
  const stop = new AbortController();
  const onSignal = () => stop.abort('signal');
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const { write, end } = writerTo(options.out, stop);
  const format = options.format ?? (options.out?.endsWith('.csv') ? 'csv' : 'jsonl');
  const labels = options.labels === undefined ? undefined : await readLabels(options.labels);
  const preprocess = options.preprocess === undefined ? undefined : await readPreprocess(options.preprocess);
  try {
    const io = { write, progress: progressOf('samples'), signal: stop.signal };
    const summary = await runPredict(model, files, { ...options, format, labels, preprocess }, io);
    await end();
    endProgress();
    summarise({ ...summary, stopped: stop.signal.reason === 'signal' });
    if (stop.signal.reason === 'signal') process.exitCode = STOPPED_BY_SIGNAL;
    else if (summary.failed > 0) process.exitCode = 1;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal);
  }
}

export const predictCommand = (): Command =>
  new Command('predict')
    .description('Run a model on files of any size: JSON lines or CSV out, one line a sample')
    .argument('<model>', 'MODEL.onnx (raw outputs), or a bundle (labels and scores, as on the device)')
    .argument('<data...>', 'files, a directory of pictures, or numbers (1,2,3)')
    .option('-o, --out <file>', 'where to write; standard output when absent')
    .addOption(
      new Option('--format <format>', 'jsonl, or csv (when --out ends in .csv)').choices(['jsonl', 'csv']),
    )
    .option('--batch <n>', 'samples in one run, where the model gives the same answers so', positive, 1)
    .option('--threads <n>', 'intra-op threads', positive, 1)
    .option('--top <k>', 'the best k classes of each sample', count, 0)
    .option('--labels <labels>', 'names of the classes, for MODEL.onnx: a,b,c or a file with one a line')
    .option('--softmax', 'the output holds logits, for --top and --labels', false)
    .option('--preprocess <file>', 'how data become tensors, as JSON or YAML')
    .option('--truth <file>', 'known classes; the accuracy is told at the end')
    .option('--truth-column <name>', 'column of the known class in a .csv (default `label` or `truth`)')
    .option('--variant <id>', 'of a bundle; its first when absent')
    .option('--strict', 'stop at the first sample that fails', false)
    .addHelpText(
      'after',
      `
Data: .csv .tsv .json .jsonl .npy .npz .dat IDX .u8 (all but .npz also as .gz), .jpg, .png, directories of those.
A sample that fails is a line with "error" and "message"; the others go on.

Examples:
  skein-model predict gas.onnx readings.csv --labels ethanol,ethylene,ammonia,acetaldehyde,acetone,toluene
  skein-model predict bundle/ january.csv february.csv -o predictions.csv
  skein-model predict mnist.onnx t10k-images-idx3-ubyte.gz --top 3 --truth t10k-labels-idx1-ubyte.gz
  skein-model predict bundle/ photos/ --batch 8 | head -3

Exit codes: 0 all predicted (also when the reader of a pipe went away), 1 a sample or all failed, 2 wrong usage,
130 stopped by Ctrl-C (what was predicted so far is written).`,
    )
    .action(predict);
