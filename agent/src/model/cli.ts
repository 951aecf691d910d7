#!/usr/bin/env node
/**
 * `skein-model`: the model tools. They run the device's own code, so what is tried at the desk is what runs there.
 * Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong usage.
 */
import { describeError } from '@skein/protocol/errors.ts';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { runBench, runInspect, runVerify } from './run-inspect.ts';
import { type PackCommand, type QuantizeCommand, runPack, runQuantize } from './run-pack.ts';
import { runTry } from './run-try.ts';

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('a number is needed');
  return value;
};
const count = (text: string): number => {
  const value = number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('a whole number is needed');
  return value;
};
const list = (text: string, before: string[]): string[] => [...before, ...text.split(',')];

const cell = (value: unknown): string => {
  if (typeof value === 'number')
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  if (Array.isArray(value)) return value.map(cell).join(' ');
  if (value !== null && typeof value === 'object') {
    return Object.entries(value)
      .map(([key, inner]) => `${key} ${cell(inner)}`)
      .join(', ');
  }
  return String(value);
};

function printTable(rows: readonly object[]): void {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = rows.map((row) =>
    columns.map((column) => cell((row as Record<string, unknown>)[column] ?? '')),
  );
  const widths = columns.map((column, c) => Math.max(column.length, ...cells.map((line) => line[c]!.length)));
  const line = (texts: readonly string[]) =>
    texts
      .map((text, c) => text.padEnd(widths[c]!))
      .join('  ')
      .trimEnd();
  console.log(line(columns));
  for (const row of cells) console.log(line(row));
}

function printRecord(record: object): void {
  const width = Math.max(...Object.keys(record).map((key) => key.length));
  for (const [key, value] of Object.entries(record)) {
    const lines = Array.isArray(value) && typeof value[0] !== 'number' ? value.map(cell) : [cell(value)];
    console.log(`${key.padEnd(width)}  ${lines.join(`\n${' '.repeat(width + 2)}`)}`);
  }
}

const show = (json: boolean, value: object): void => {
  if (json) console.log(JSON.stringify(value, null, 2));
  else if (Array.isArray(value)) printTable(value);
  else printRecord(value);
};
const output = () =>
  new Option('-o, --output <form>', 'how to print').choices(['table', 'json']).default('table');

const progress = (done: number, total: number, what: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K[${done + 1}/${total}] ${what}`);
};
const endProgress = (): void => {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K');
};

const program = new Command('skein-model')
  .description('Try, quantize, pack and check ONNX models. No server and no keys are needed.')
  .exitOverride()
  .showHelpAfterError('(see skein-model --help)')
  .configureHelp({ showGlobalOptions: true });

program
  .command('try')
  .description('Run a model on inputs and print what it says')
  .argument('<model>', 'MODEL.onnx, or a bundle (then labels and scores as on the device)')
  .argument('<input...>', 'numbers (1,2,3) or files: .csv .json .jsonl .npy .dat IDX .u8, also with .gz')
  .addOption(output())
  .addHelpText(
    'after',
    `
Examples:
  skein-model try gas.onnx readings.csv
  skein-model try mnist.onnx t10k-images-idx3-ubyte.gz -o json
  skein-model try tiny.onnx 0.1,0.2,0.3
  skein-model try models/host/bundle features.csv`,
  )
  .action(async (model: string, inputs: string[], options: { output: string }) => {
    show(options.output === 'json', await runTry(model, inputs));
  });

program
  .command('inspect')
  .description('Show what a model is made of and what stands in its way')
  .argument('<model>', 'MODEL.onnx or a bundle')
  .addOption(output())
  .action(async (model: string, options: { output: string }) => {
    show(options.output === 'json', await runInspect(model));
  });

program
  .command('quantize')
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

program
  .command('pack')
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

program
  .command('verify')
  .description('Check a bundle: every hash, and the golden vectors on every variant')
  .argument('<bundle>', 'directory or .skein file')
  .addOption(output())
  .action(async (bundle: string, options: { output: string }) => {
    const verdicts = await runVerify(bundle);
    show(options.output === 'json', verdicts);
    if (verdicts.some(({ ok }) => !ok)) process.exitCode = 1;
  });

program
  .command('bench')
  .description('Measure latency: raw session.run, inline and worker, in one run')
  .argument('<model>', 'MODEL.onnx or a bundle')
  .option('--seconds <s>', 'time for each way', number, 2)
  .option('--threads <n>', 'intra-op threads', count, 1)
  .addOption(output())
  .action(async (model: string, options: { seconds: number; threads: number; output: string }) => {
    show(options.output === 'json', await runBench(model, options.seconds * 1000, options.threads));
  });

for (const command of program.commands) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    endProgress();
    console.error(describeError(error));
    process.exitCode = 1;
  }
}
