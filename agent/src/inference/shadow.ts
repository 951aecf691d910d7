/**
 * A challenger beside a model that works: it sees the same inputs, nobody sees its answers, and what differs is counted.
 *
 * Invariants: the challenger is a model that a signed order installed under its own name; it runs after the answer was
 * given, in a thread of its own, one comparison at a time, within its share of a core, touching few readings; what does
 * not fit is skipped and counted, never queued. Both must make tensors from readings in the same way, or a comparison would mean nothing.
 */
import type { Manifest } from '@skein/protocol/manifest.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { postprocess } from '../pipeline/postprocess.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';
import type { Tensor, Tensors } from './backend.ts';
import { batchable, rowsOf, splitRows } from './batch.ts';
import { CpuBudget } from './cpu-budget.ts';
import { Disturbance } from './disturbance.ts';
import { LatencyHistogram } from './latency.ts';

export interface ShadowOptions {
  model: string;
  challenger: string;
  /** Share of one core. */
  cpuBudget: number;
}

/**
 * Why a reading was not compared. budget: no share of a core is left. pace: comparing would slow too many readings.
 * absent: the challenger is not active. unlike: it makes its inputs in another way.
 */
export const SKIPS = ['busy', 'budget', 'pace', 'absent', 'unlike', 'failed'] as const;
export type Skip = (typeof SKIPS)[number];

export interface ShadowStatus {
  model: string;
  version: string | null;
  challenger: string;
  challengerVersion: string | null;
  /** Rows on which both gave an answer since either was activated. */
  compared: number;
  /** Same label. */
  agreed: number;
  /** Of the scores, absolute. */
  meanScoreDifference: number;
  maxScoreDifference: number;
  /** p95 of the run alone, microseconds. */
  p95Us: number;
  challengerP95Us: number;
  /** Readings, since the agent started. */
  skipped: Record<Skip, number>;
}

/** One side of a comparison; each activation has a manifest of its own. */
export interface Side {
  readonly manifest: Manifest;
}
export interface Challenger extends Side {
  /** Rejects when it fails. */
  run(inputs: Tensors): Promise<Given>;
  /** That it computes with; each costs. */
  threads: number;
}
export interface Given {
  outputs: Tensors;
  inferUs: number;
}

const copyOf = (tensors: Tensors): Tensors =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]): [string, Tensor] => [
      name,
      { ...tensor, data: tensor.data.slice() },
    ]),
  );

const sameInputs = (a: Manifest, b: Manifest): boolean =>
  JSON.stringify([a.inputs, a.preprocess]) === JSON.stringify([b.inputs, b.preprocess]);

const fresh = () => ({
  compared: 0,
  agreed: 0,
  sumDifference: 0,
  maxDifference: 0,
  latency: new LatencyHistogram(),
  challengerLatency: new LatencyHistogram(),
});

export class Shadow {
  readonly #options: ShadowOptions;
  readonly #budget: CpuBudget;
  readonly #disturbance = new Disturbance();
  readonly #clock: Pick<Clock, 'mono'>;
  readonly #skipped = Object.fromEntries(SKIPS.map((skip) => [skip, 0])) as Record<Skip, number>;
  #pair: { primary: Side; challenger: Side; alike: boolean } | undefined;
  #counts = fresh();
  #busy = false;

  constructor(options: ShadowOptions, clock: Pick<Clock, 'mono'>) {
    this.#options = options;
    this.#clock = clock;
    this.#budget = new CpuBudget(options.cpuBudget, clock);
  }

  /**
   * One answer of the model that works. Never throws, never waits.
   * @param inputs may be used again by their owner as soon as this returns
   */
  observe(primary: Side, inputs: Tensors, given: Given, challenger: Challenger | undefined): void {
    this.#disturbance.reading(this.#clock.mono() - given.inferUs / 1000);
    const skip = this.#skipFor(primary, challenger);
    if (skip) this.#skipped[skip]++;
    else void this.#compare(primary, copyOf(inputs), given, challenger!);
  }

  #skipFor(primary: Side, challenger: Side | undefined): Skip | undefined {
    if (!challenger) return 'absent';
    if (!this.#pairOf(primary, challenger).alike) return 'unlike';
    if (this.#busy) return 'busy';
    if (!this.#budget.available) return 'budget';
    return this.#disturbance.allowed ? undefined : 'pace';
  }

  /** Counting starts anew with every activation of either. */
  #pairOf(primary: Side, challenger: Side) {
    const known = this.#pair;
    if (known?.primary.manifest === primary.manifest && known.challenger.manifest === challenger.manifest)
      return known;
    this.#counts = fresh();
    const pair = { primary, challenger, alike: sameInputs(primary.manifest, challenger.manifest) };
    this.#pair = pair;
    return pair;
  }

  async #compare(primary: Side, inputs: Tensors, given: Given, challenger: Challenger): Promise<void> {
    this.#busy = true;
    this.#disturbance.begin();
    const pair = this.#pair;
    const began = this.#clock.mono();
    try {
      const answer = await challenger.run(inputs);
      if (pair === this.#pair) this.#count(primary.manifest, challenger.manifest, inputs, given, answer);
    } catch {
      this.#skipped.failed++;
    }
    // All of it, waiting and a crashed worker's restart included: more than it cost, never less.
    const ended = this.#clock.mono();
    this.#budget.spend((ended - began) * challenger.threads);
    this.#disturbance.end(ended);
    this.#busy = false;
  }

  #count(primary: Manifest, challenger: Manifest, inputs: Tensors, given: Given, answer: Given): void {
    const counts = this.#counts;
    const ours = outcomes(primary, inputs, given.outputs);
    const theirs = outcomes(challenger, inputs, answer.outputs);
    ours.forEach(({ label, score }, i) => {
      const other = theirs[i]!;
      const difference = Math.abs(score - other.score);
      counts.compared++;
      if (label === other.label) counts.agreed++;
      if (!Number.isFinite(difference)) return;
      counts.sumDifference += difference;
      counts.maxDifference = Math.max(counts.maxDifference, difference);
    });
    counts.latency.add(given.inferUs);
    counts.challengerLatency.add(answer.inferUs);
  }

  snapshot(): ShadowStatus {
    const { compared, agreed, sumDifference, maxDifference, latency, challengerLatency } = this.#counts;
    return {
      model: this.#options.model,
      version: this.#pair?.primary.manifest.version ?? null,
      challenger: this.#options.challenger,
      challengerVersion: this.#pair?.challenger.manifest.version ?? null,
      compared,
      agreed,
      meanScoreDifference: compared > 0 ? sumDifference / compared : 0,
      maxScoreDifference: maxDifference,
      p95Us: latency.quantile(0.95),
      challengerP95Us: challengerLatency.quantile(0.95),
      skipped: { ...this.#skipped },
    };
  }
}

/** What people would have been told, row by row. @throws SkeinError TENSOR_INVALID */
function outcomes(
  { inputs: specs, outputs: declared, postprocess: post }: Manifest,
  inputs: Tensors,
  outputs: Tensors,
) {
  const rows = batchable(specs, declared) ? (rowsOf(inputs) ?? 1) : 1;
  const ones = Array.from({ length: rows }, () => 1);
  const fed = rows > 1 ? splitRows(inputs, ones) : [inputs];
  const given = rows > 1 ? splitRows(outputs, ones) : [outputs];
  const [first = { name: '' }] = specs;
  return given.map((row, i) => postprocess(post, row, tensorNumbers(fed[i]![first.name]!)));
}

/** Names of at most 64 characters: those of challengers differ in their first 40. */
export const SHADOW_NAME_LENGTH = 40;

/** As health metrics, so that a comparison reaches the server in a stream that it keeps already. */
export const shadowMetrics = (shadows: readonly ShadowStatus[]): Record<string, number> =>
  Object.fromEntries(
    shadows.flatMap(
      ({ challenger, compared, agreed, meanScoreDifference, challengerP95Us, p95Us, skipped }) => {
        const name = challenger.slice(0, SHADOW_NAME_LENGTH);
        const skips = SKIPS.reduce((sum, skip) => sum + skipped[skip], 0);
        const always = [
          [`shadow_compared.${name}`, compared],
          [`shadow_skipped.${name}`, skips],
        ] as const;
        if (compared === 0) return [...always];
        return [
          ...always,
          [`shadow_agreement.${name}`, agreed / compared],
          [`shadow_score_diff.${name}`, meanScoreDifference],
          [`shadow_p95_ms.${name}`, challengerP95Us / 1000],
          [`shadow_primary_p95_ms.${name}`, p95Us / 1000],
        ] as const;
      },
    ),
  );
