import { Command, InvalidArgumentError, Option } from 'commander';
import { readLabels } from '../data/disk-labels.ts';
import { DEFAULT_BOUNDS } from '../judge-quantized.ts';
import type { PackReport } from '../onnx-pack.ts';
import { POSTPROCESS_KINDS, type PostprocessKind } from '../pack-postprocess.ts';
import { type PackCommand, runPack } from '../run-pack.ts';
import { count, list, number, positive, share } from './options.ts';
import { endProgress, printTable, progress, show } from './output.ts';
import { readPostprocess, readPreprocess } from './preprocess-file.ts';

type Opaque = PackCommand['opaque'][number];

interface Given extends Omit<PackCommand, 'preprocess' | 'postprocess' | 'bounds' | 'opaque'> {
  preprocess?: string;
  postprocess?: string;
  /** Name of the model's output. */
  from?: string;
  labels?: string;
  alarmLabels: string[];
  softmax: boolean;
  topK?: number;
  threshold?: number;
  low?: number;
  high?: number;
  preferInt8: boolean;
  minAgreement: number;
  minSqnr: number;
  maxAccuracyLoss: number;
  maxSlowdown: number;
  variant: Opaque[];
  json: boolean;
}

const KEYS = [
  'id',
  'backend',
  'format',
  'target',
  'precision',
  'sdk-min',
  'sdk-max',
  'tolerance',
  'accuracy',
];
const PRECISIONS = ['fp32', 'fp16', 'int8'] as const;

/** `FILE,backend=triton,target=orin-sm87,…` */
function opaque(text: string, before: Opaque[]): Opaque[] {
  const [path = '', ...pairs] = text.split(',');
  const given = new Map(pairs.map((pair) => pair.split(/=(.*)/s).slice(0, 2) as [string, string]));
  const unknown = [...given.keys()].find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new InvalidArgumentError(`\`${unknown}\` is none of ${KEYS.join(', ')}`);
  const backend = given.get('backend');
  const precision = PRECISIONS.find((known) => known === (given.get('precision') ?? 'fp16'));
  if (!path || !backend) throw new InvalidArgumentError('FILE,backend=NAME is needed');
  if (!precision) throw new InvalidArgumentError(`precision is one of ${PRECISIONS.join(', ')}`);
  const [min, max, format, target] = ['sdk-min', 'sdk-max', 'format', 'target'].map((key) => given.get(key));
  const accuracy = given.get('accuracy');
  const tolerance = given.get('tolerance');
  return [
    ...before,
    {
      path,
      id: given.get('id') ?? target ?? backend,
      precision,
      backend,
      ...(format ? { format } : {}),
      ...(target ? { target } : {}),
      ...(min || max ? { sdk: { ...(min ? { min } : {}), ...(max ? { max } : {}) } } : {}),
      accuracy: accuracy === undefined ? null : number(accuracy),
      ...(tolerance === undefined ? {} : { tolerance: number(tolerance) }),
    },
  ];
}

async function postprocessOf(given: Given): Promise<PackCommand['postprocess']> {
  const { postprocess, labels, alarmLabels, softmax, topK, threshold, low, high, from } = given;
  const kind = POSTPROCESS_KINDS.find((known) => known === postprocess) as PostprocessKind | undefined;
  if (postprocess !== undefined && !kind) return { file: await readPostprocess(postprocess) };
  const names = labels === undefined ? undefined : await readLabels(labels);
  const options = { kind, output: from, labels: names, alarmLabels, softmax, topK, threshold, low, high };
  return { options };
}

function print(report: PackReport, out: string): void {
  printTable(report.variants.map(({ p50Us, ...rest }) => ({ ...rest, 'p50 µs here': p50Us ?? 'not run' })));
  for (const { id, reasons } of report.left) console.log(`${id} is not packed: ${reasons.join('; ')}`);
  for (const note of report.notes) console.log(note);
  console.log(`\n${report.windows} samples of calibration data; written to ${out}`);
  for (const { name, reason } of report.quantization?.floatNodes ?? [])
    console.log(`  ${name} stays in float: ${reason}`);
}

async function pack(model: string, given: Given): Promise<void> {
  const { minAgreement, minSqnr, maxAccuracyLoss, maxSlowdown, preferInt8, preprocess, ...rest } = given;
  const report = await runPack(
    model,
    {
      ...rest,
      ...(preprocess === undefined ? {} : { preprocess: await readPreprocess(preprocess) }),
      postprocess: await postprocessOf(given),
      bounds: {
        maxAccuracyLoss,
        maxSlowdown,
        minSqnrDb: minSqnr,
        ...(minAgreement === undefined ? {} : { minAgreement }),
      },
      order: preferInt8 ? ['int8', ...given.order] : given.order,
      opaque: given.variant,
    } as PackCommand,
    progress,
  );
  endProgress();
  if (given.json) show(true, report);
  else print(report, given.out);
}

export const packCommand = (): Command =>
  new Command('pack')
    .description('Make a bundle: manifest, variants chosen by measuring, golden vectors, drift profile')
    .argument('<model>', 'a float MODEL.onnx')
    .requiredOption('--name <name>', 'model name, lower case')
    .requiredOption('--version <version>', 'release, as 1.2.3')
    .requiredOption(
      '--calibrate <data>',
      'recorded readings in order of time, pictures, or tensors by input name',
    )
    .requiredOption('-o, --out <path>', 'directory to write, or a file that ends in .skein')
    .option('--description <text>', 'one line for people', '')
    .option('--licence <id>', 'SPDX identifier', 'Apache-2.0')
    .optionsGroup('From data to the model:')
    .option(
      '--preprocess <file>',
      'the manifest’s `preprocess` as JSON or YAML: pictures, or features in full',
    )
    .option('--window <n>', 'readings a prediction looks at', positive, 1)
    .option('--stride <n>', 'readings between two predictions', positive, 1)
    .option('--scale', 'standardise features by the data (leave out when the graph scales)', false)
    .addOption(
      new Option('--on-missing <policy>', 'readings with missing values')
        .choices(['reject', 'flag', 'fill'])
        .default('reject'),
    )
    .option('--truth <file>', 'known classes, one a sample, or file,label for pictures')
    .option('--truth-column <name>', 'column with the known class in a .csv (default: label or truth)')
    .optionsGroup('From the model to predictions:')
    .option(
      '--postprocess <kind|file>',
      `${POSTPROCESS_KINDS.join(', ')} (guessed), or the manifest’s object in a file`,
    )
    .option('--from <output>', 'which output; the first when absent')
    .option('--labels <labels>', 'a,b,c or a file with one a line')
    .option('--alarm-labels <labels>', 'labels that raise an alarm', list, [])
    .option('--softmax', 'the output holds logits', false)
    .option('--top-k <k>', 'classes in the detail of a prediction', positive)
    .option(
      '--threshold <score>',
      'reconstruction: score of an alarm (1); classify: least score of a label',
      number,
    )
    .option('--low <value>', 'regression below this raises an alarm', number)
    .option('--high <value>', 'regression above this raises an alarm', number)
    .optionsGroup('Variants:')
    .option('--no-int8', 'no int8 variant')
    .option('--fp16', 'a float16 variant as well', false)
    .option('--order <ids>', 'variants that come first whatever was measured: int8,fp32', list, [])
    .option('--prefer-int8', 'the same as --order int8', false)
    .option(
      '--min-agreement <share>',
      `least agreement with float (classes: ${DEFAULT_BOUNDS.minAgreement})`,
      share,
    )
    .option('--min-sqnr <dB>', 'least signal to noise', number, DEFAULT_BOUNDS.minSqnrDb)
    .option('--max-accuracy-loss <share>', 'where classes are known', share, DEFAULT_BOUNDS.maxAccuracyLoss)
    .option('--max-slowdown <times>', 'slower ones are ranked last', number, DEFAULT_BOUNDS.maxSlowdown)
    .option('--skip <nodes>', 'nodes that stay in float', list, [])
    .option('--reduce-range', 'seven-bit weights, for x86-64 without VNNI', false)
    .option(
      '--variant <file,…>',
      'a file for another backend: FILE,backend=NAME,target=…,format=…,sdk-min=…,sdk-max=…,precision=…,tolerance=…,id=…',
      opaque,
      [],
    )
    .optionsGroup('Drift and lineage:')
    .option('--drift-window <n>', 'readings in a drift window; 0 leaves drift out', count, 500)
    .option('--rate <hz>', 'readings a second, for the false-alarm budget', number, 1)
    .option('--trained-from <name>', 'lineage', list, [])
    .option('--json', 'print the report as JSON', false)
    .addHelpText(
      'after',
      `
A variant that is less accurate than allowed is not packed; one that is slower than allowed by more than 10% is ranked
last. That order is all that measured speed decides: with --order the same inputs always give the same bytes.

Examples:
  skein-model pack gas.onnx --name gas --version 1.0.0 --calibrate gas.csv \\
    --labels ethanol,ethylene,ammonia,acetaldehyde,acetone,toluene -o bundle/
  skein-model pack pets.onnx --name pets --version 1.0.0 --calibrate photos/ --preprocess pets.yaml \\
    --labels cat,dog --softmax --top-k 2 --drift-window 0 -o pets.skein
  skein-model pack ssd.onnx --name ssd --version 2.0.0 --calibrate street/ --preprocess ssd.yaml \\
    --postprocess boxes.yaml --variant ssd.plan,backend=triton,target=orin-sm87,format=plan -o ssd/

Exit codes: 0 packed, 1 refused or failed, 2 wrong usage.`,
    )
    .action(pack);
