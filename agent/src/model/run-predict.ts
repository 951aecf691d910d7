/**
 * `skein-model predict`: files in, one line a sample out. A bundle predicts as the device does (preprocessing, labels,
 * scores); a bare model gives its raw outputs, or classes when it is told their labels. What fails with one sample is
 * a line that says so, and the next goes on. Memory is one batch, whatever the files' size.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Postprocess, Preprocess } from '@skein/protocol/manifest.ts';
import type { LoadedModel, Tensors } from '../inference/backend.ts';
import { joinRows, sameRowShape, splitRows } from '../inference/batch.ts';
import { type OnnxSession, sessionFromBytes } from '../inference/onnx-session.ts';
import { allFinite, checkInputs } from '../inference/tensors.ts';
import { type Batching, tryBatch } from '../inference/try-batch.ts';
import { decodePicture } from '../pipeline/image-decode.ts';
import { postprocess } from '../pipeline/postprocess.ts';
import { systemClock } from '../system-clock.ts';
import { openArgument } from './data/disk-data.ts';
import { type Fed, feeder, lackingColumns, rawWidth } from './data/fed.ts';
import { readBundle } from './disk-bundle.ts';
import { isModelFile, readModelFile, variantBytes } from './disk-model.ts';
import { CsvWriter, type PredictRow, rankedClasses, rawOutputs, toJsonLine } from './predict-rows.ts';

export interface PredictOptions {
  batch: number;
  threads: number;
  format: 'jsonl' | 'csv';
  /** Stop at the first sample that fails. */
  strict: boolean;
  /** Best classes of each sample; 0: as the bundle says, or raw outputs of a bare model. */
  top: number;
  softmax: boolean;
  labels?: readonly string[] | undefined;
  preprocess?: Preprocess | undefined;
  truth?: string | undefined;
  truthColumn?: string | undefined;
  variant?: string | undefined;
}

export interface PredictIo {
  /** Settles when more may be written. */
  write(text: string): Promise<void>;
  progress(done: number, total: number | undefined): void;
  /** Ends the work after the batch that runs. */
  signal: AbortSignal;
}

export interface PredictSummary {
  predicted: number;
  failed: number;
  /** Reasons of the first few failures. */
  problems: string[];
  /** Share of right labels among the samples whose class is known; null when none is. */
  accuracy: number | null;
  /** What should be known about the answers, and about batches that were not made. */
  notes: string[];
  stopped: boolean;
}

const SHOWN_PROBLEMS = 5;
const MAX_BATCH = 4096;
const ONES = new Array<number>(MAX_BATCH).fill(1);

type Session = Omit<OnnxSession, 'sha256'>;
type Describe = (
  fed: Fed,
  outputs: Tensors,
) => Omit<PredictRow, 'sample' | 'where'> & Partial<Record<string, unknown>>;

interface Model {
  session: Session;
  preprocess: Preprocess | undefined;
  describe: Describe;
  /** Whether its labels are classes that can be right or wrong, and their names. */
  classes: { labels: readonly string[] | undefined } | undefined;
}

function describeBundle(post: Postprocess, top: number): Describe {
  const wanted = post.kind === 'classify' && top > 1 ? { ...post, topK: Math.min(16, top) } : post;
  return (fed, outputs) => {
    const { charts: _, ...shown } = postprocess(wanted, outputs, fed.input, fed.place);
    return shown;
  };
}

function describeBare({ top, labels, softmax }: PredictOptions): Describe {
  if (top === 0 && !labels) return (_, outputs) => ({ outputs: rawOutputs(outputs) });
  return (_, outputs) => {
    const ranked = rankedClasses(outputs, labels, Math.max(1, top), softmax);
    return { ...ranked[0]!, ...(top > 1 ? { top: ranked } : {}) };
  };
}

async function openForPredict(path: string, options: PredictOptions): Promise<Model> {
  const where = { path, threads: options.threads, providers: ['cpu'] };
  if (isModelFile(path)) {
    const session = await sessionFromBytes(await readModelFile(path), where);
    const classes = options.labels || options.top > 0 ? { labels: options.labels } : undefined;
    return { session, preprocess: options.preprocess, describe: describeBare(options), classes };
  }
  const bundle = await readBundle(path);
  const { manifest } = bundle;
  const session = await sessionFromBytes(variantBytes(bundle, options.variant), where);
  const preprocess = options.preprocess ?? manifest.preprocess;
  const post = manifest.postprocess;
  const classes = 'labels' in post ? { labels: post.labels } : undefined;
  return { session, preprocess, describe: describeBundle(post, options.top), classes };
}

/** Whether samples may share a run is tried, as the device does. */
const batchingOf = (session: Session, most: number): Promise<Batching> => {
  const loaded: LoadedModel = { ...session, sha256: '', placement: 'inline', infer: session.run };
  return tryBatch(loaded, Math.min(most, MAX_BATCH), systemClock);
};

/** A class that the model knows; data may be sorted by something else. */
const isClass = (truth: string, labels: readonly string[] | undefined): boolean =>
  /^\d+$/.test(truth) || (labels?.includes(truth) ?? false);

/** Right by its name, or by its number when the data number their classes. */
const isRight = (row: PredictRow, truth: string, labels: readonly string[] | undefined): boolean =>
  'label' in row &&
  (row.label === truth || row.label === labels?.[Number(truth)] || row.label === `class ${truth}`);

class Prediction {
  readonly #model: Model;
  readonly #options: PredictOptions;
  readonly #io: PredictIo;
  readonly #csv: CsvWriter | undefined;
  readonly #size: number;
  #waiting: { sample: number; fed: Fed }[] = [];
  #sample = 0;
  #known = 0;
  #right = 0;
  readonly summary: PredictSummary;

  constructor(model: Model, options: PredictOptions, io: PredictIo, batching: Batching) {
    this.#model = model;
    this.#options = options;
    this.#io = io;
    this.#csv = options.format === 'csv' ? new CsvWriter() : undefined;
    this.#size = batching.maxBatch;
    const notes = options.batch > 1 && batching.maxBatch === 1 ? [batching.reason] : [];
    this.summary = { predicted: 0, failed: 0, problems: [], accuracy: null, notes, stopped: false };
  }

  async file(argument: string): Promise<void> {
    const { truth, truthColumn } = this.#options;
    const { session, preprocess } = this.#model;
    const width = rawWidth(session.inputs, preprocess);
    const data = await openArgument(argument, { width, truth, truthColumn });
    const feed = feeder(session.inputs, preprocess, data.columns, decodePicture);
    if (preprocess?.kind === 'features') {
      const lacking = lackingColumns(data.columns, preprocess);
      if (lacking.length > 0) this.summary.notes.push(`${argument} has no ${lacking.join(', ')}: filled`);
    }
    const from = this.#sample;
    for await (const entry of data.samples()) {
      if (this.#io.signal.aborted) break;
      const sample = this.#sample++;
      try {
        if ('problem' in entry) throw entry.problem;
        const fed = await feed.push(entry);
        if (!fed) continue;
        checkInputs(fed.inputs, session.inputs);
        await this.#add(sample, fed);
      } catch (thrown) {
        await this.#flush();
        await this.#failed(sample, entry.where, thrown);
      }
      this.#io.progress(this.#sample, data.count === undefined ? undefined : from + data.count);
    }
    await this.#flush();
  }

  async end(): Promise<PredictSummary> {
    await this.#io.write(this.#csv?.end() ?? '');
    this.summary.stopped = this.#io.signal.aborted;
    if (this.#known > 0) this.summary.accuracy = this.#right / this.#known;
    return this.summary;
  }

  async #add(sample: number, fed: Fed): Promise<void> {
    const [first] = this.#waiting;
    if (first && !sameRowShape(first.fed.inputs, fed.inputs)) await this.#flush();
    this.#waiting.push({ sample, fed });
    if (this.#waiting.length >= this.#size) await this.#flush();
  }

  /** A batch that fails as a whole is run again one by one, so that only what is wrong fails. */
  async #flush(): Promise<void> {
    const batch = this.#waiting.splice(0);
    if (batch.length === 0) return;
    const inputs = batch.map(({ fed }) => fed.inputs);
    const outputs = await this.#model.session
      .run(batch.length === 1 ? inputs[0]! : joinRows(inputs))
      .then((found) => (batch.length === 1 ? [found] : splitRows(found, ONES.slice(0, batch.length))))
      .catch(() => undefined);
    for (const [i, { sample, fed }] of batch.entries()) {
      try {
        await this.#answer(sample, fed, outputs?.[i] ?? (await this.#model.session.run(fed.inputs)));
      } catch (thrown) {
        await this.#failed(sample, fed.where, thrown);
      }
    }
  }

  async #answer(sample: number, fed: Fed, outputs: Tensors): Promise<void> {
    if (!allFinite(outputs))
      throw new SkeinError('MODEL_OUTPUT_NOT_FINITE', 'the model gave NaN or an infinity');
    const truth = fed.truth === undefined ? {} : { truth: fed.truth };
    const row = { sample, where: fed.where, ...this.#model.describe(fed, outputs), ...truth } as PredictRow;
    const { classes } = this.#model;
    if (fed.truth !== undefined && classes && isClass(fed.truth, classes.labels)) {
      this.#known++;
      if (isRight(row, fed.truth, classes.labels)) this.#right++;
    }
    this.summary.predicted++;
    await this.#write(row);
  }

  async #failed(sample: number, where: string, thrown: unknown): Promise<void> {
    const error = asSkeinError(thrown);
    if (this.#options.strict || error.code === 'REQUEST_INVALID' || error.blame === 'bug') throw error;
    this.summary.failed++;
    const named = error.message.startsWith(where) ? error.message : `${where}: ${error.message}`;
    if (this.summary.problems.length < SHOWN_PROBLEMS) this.summary.problems.push(`${error.code}: ${named}`);
    await this.#write({ sample, where, error: error.code, message: error.message });
  }

  async #write(row: PredictRow): Promise<void> {
    await this.#io.write(this.#csv ? this.#csv.row(row) : toJsonLine(row));
  }
}

/** @throws SkeinError when the model or a file can not be read at all, and at the first bad sample when strict */
export async function runPredict(
  path: string,
  files: readonly string[],
  options: PredictOptions,
  io: PredictIo,
): Promise<PredictSummary> {
  const model = await openForPredict(path, options);
  try {
    const prediction = new Prediction(model, options, io, await batchingOf(model.session, options.batch));
    for (const file of files) if (!io.signal.aborted) await prediction.file(file);
    return await prediction.end();
  } finally {
    await model.session.close();
  }
}
