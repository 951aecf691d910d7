import { Command, InvalidArgumentError, Option } from 'commander';
import { CALIBRATION_KINDS, type CalibrationMethod } from '../calibrate.ts';
import { DEFAULT_BOUNDS } from '../judge-quantized.ts';
import type { QuantizeReport } from '../onnx-quantize.ts';
import { type QuantizeCommand, runQuantize } from '../run-quantize.ts';
import { list, number, share } from './options.ts';
import { endProgress, printRecord, progress, show } from './output.ts';
import { readPreprocess } from './preprocess-file.ts';

interface Given extends Omit<QuantizeCommand, 'bounds' | 'classes' | 'preprocess'> {
  classes?: string;
  /** A file. */
  preprocess?: string;
  minAgreement: number;
  minSqnr: number;
  maxAccuracyLoss: number;
  maxSlowdown: number;
  json: boolean;
}

const DEFAULT_KEEP = 99.99;

/** `percentile` and `percentile:99.9`; the others stand alone. */
function calibration(text: string): CalibrationMethod {
  const [kind, share] = text.split(':');
  const known = CALIBRATION_KINDS.find((one) => one === kind);
  if (!known || (share !== undefined && known !== 'percentile'))
    throw new InvalidArgumentError(`one of ${CALIBRATION_KINDS.join(', ')}, percentile:99.9`);
  if (known !== 'percentile') return { kind: known };
  const keep = share === undefined ? DEFAULT_KEEP : number(share);
  if (keep <= 50 || keep > 100) throw new InvalidArgumentError('a percentile lies above 50, at most at 100');
  return { kind: known, keep: keep / 100 };
}

const percent = (value: number): string => `${(value * 100).toFixed(2)}%`;
const times = (one: number, other: number): string => (one / other).toFixed(2);

/** What people want to know first; all of it is in --json. */
function summary(report: QuantizeReport, out: string): Record<string, unknown> {
  const { verdict, accuracy, sizeBytes, p50Us } = report;
  return {
    verdict: verdict.good ? 'good' : ['not good', ...verdict.reasons],
    outputs: report.outputs.map(({ name, sqnrDb, agreement }) =>
      [
        name,
        ...(sqnrDb === null ? [] : [`SQNR ${sqnrDb.toFixed(1)} dB`]),
        ...(agreement === null ? [] : [`agreement ${percent(agreement)}`]),
      ].join(', '),
    ),
    ...(accuracy ? { accuracy: `${percent(accuracy.quantized)}, float ${percent(accuracy.float)}` } : {}),
    'measured on': `${report.samples} samples${report.heldOut ? ' that calibration did not see' : ''}`,
    size: `${sizeBytes.int8} bytes, ${times(sizeBytes.int8, sizeBytes.float)} × float`,
    'p50 µs': `${p50Us.int8.toFixed(1)}, ${times(p50Us.int8, p50Us.float)} × float`,
    method: report.method,
    nodes: `${report.int8Nodes.length} quantized, ${report.followingNodes.length} follow, ${report.floatNodes.length} in float`,
    ...(report.floatNodes.length
      ? { 'in float': report.floatNodes.map((n) => `${n.name}: ${n.reason}`) }
      : {}),
    ...(report.warnings.length ? { warnings: report.warnings } : {}),
    written: out,
  };
}

async function quantizeWith(model: string, given: Given): Promise<void> {
  const { minAgreement, minSqnr, maxAccuracyLoss, maxSlowdown, classes, preprocess, json, ...rest } = given;
  const bounds = { minAgreement, minSqnrDb: minSqnr, maxAccuracyLoss, maxSlowdown };
  const named = classes ? { classes: classes.split(',') } : {};
  const file = preprocess ? { preprocess: await readPreprocess(preprocess) } : {};
  const report = await runQuantize(model, { ...rest, ...named, ...file, bounds }, progress);
  endProgress();
  if (json) show(true, report);
  else printRecord(summary(report, given.out));
}

export const quantizeCommand = (): Command =>
  new Command('quantize')
    .description(
      'Write a smaller model (int8 or float16), and measure it against the float one on held-out data',
    )
    .argument('<model>', 'a float MODEL.onnx')
    .requiredOption('--calibrate <data>', 'inputs as the model will see them; a quarter of them measures')
    .requiredOption('-o, --out <file>', 'the model to write')
    .option('--evaluate <data>', 'other data to measure on; then all of --calibrate calibrates')
    .addOption(
      new Option('--mode <mode>', 'static: int8 with ranges from the data; dynamic: ranges at each run')
        .choices(['static', 'dynamic', 'fp16'])
        .default('static'),
    )
    .option(
      '--calibration <method>',
      `${CALIBRATION_KINDS.join(', ')} (percentile:99.9); all are measured when left out`,
      calibration,
    )
    .addOption(
      new Option('--activations <type>', 'u8 is faster on x86-64').choices(['u8', 's8']).default('u8'),
    )
    .option('--skip <nodes>', 'nodes that stay in float, by name, comma-separated', list, [])
    .option('--reduce-range', 'seven-bit weights, for x86-64 without VNNI', false)
    .option('--preprocess <file>', 'how data become the model’s tensor, as JSON or YAML; pictures need one')
    .option('--classes <names>', 'a,b,c in the order of the output, when the data name their classes')
    .option('--truth <file>', 'known classes, one a sample, when the data do not hold them')
    .option('--truth-column <name>', 'column with the known class (default: label or truth)')
    .option('--min-agreement <share>', 'least agreement with float', share, DEFAULT_BOUNDS.minAgreement)
    .option('--min-sqnr <dB>', 'least signal to noise of each output', number, DEFAULT_BOUNDS.minSqnrDb)
    .option('--max-accuracy-loss <share>', 'where classes are known', share, DEFAULT_BOUNDS.maxAccuracyLoss)
    .option('--max-slowdown <times>', 'largest latency against float', number, DEFAULT_BOUNDS.maxSlowdown)
    .option('--strict', 'write nothing and exit with 1 when the model is not good', false)
    .option('--json', 'print the whole report as JSON, with what was decided for each node', false)
    .addHelpText(
      'after',
      `
A model is good when it holds every bound on data that calibration has not seen. Nodes that cost too much go back to
float until the bounds hold; layers that read raw, unscaled values stay there from the start.

Examples:
  skein-model quantize resnet8.onnx --calibrate images.u8.gz -o resnet8-int8.onnx
  skein-model quantize gas.onnx --calibrate batch1.dat.gz --classes ethanol,ethylene,ammonia,acetaldehyde,acetone,toluene \\
    -o gas-int8.onnx --strict
  skein-model quantize bert.onnx --calibrate tokens.npz --mode dynamic -o bert-int8.onnx

Exit codes: 0 written, 1 refused, failed or (with --strict) not good, 2 wrong usage.`,
    )
    .action(quantizeWith);
