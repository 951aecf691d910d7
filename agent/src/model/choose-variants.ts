/**
 * Which of the variants that were made go into a bundle, and in what order. Pure.
 *
 * One that is less accurate than allowed is left out, with the reasons. The others are ranked: those that are not slower
 * than allowed first, in the order int8, fp16, fp32; those that are slower last, with the reason, for another processor
 * may run them faster. Speed is the one thing that is measured here and may differ between two packings, so it decides
 * only beyond a margin, and never over an order that was asked for. The device measures again.
 */
import { type Bounds, judgeQuantized, type Measured } from './judge-quantized.ts';

export interface Candidate {
  id: string;
  /** Against the float model; absent for the float model itself. */
  measured?: Measured;
  /** Share of right labels, or of labels equal to the float model's. */
  accuracy: number;
}

export interface ChoiceRequest {
  bounds: Bounds;
  /** Accuracy of the float model, by the same measure; whether it is on known classes. */
  float: { accuracy: number; known: boolean };
  /** Ids that come first, in this order. */
  order?: readonly string[];
}

export interface Choice {
  /** Ids in order of preference. */
  packed: string[];
  /** Why some of them are not first. */
  notes: string[];
  left: { id: string; reasons: string[] }[];
}

const ORDER = ['int8', 'fp16', 'fp32'];
/** Medians of two runs of the same model differ by less. */
const NOISE = 1.1;
const percent = (share: number): string => `${(share * 100).toFixed(2)}%`;

/** By what the manifest's own postprocessing says, and by what the quantizer says of the outputs. */
function inaccuracies({ measured, accuracy }: Candidate, { bounds, float }: ChoiceRequest): string[] {
  if (!measured) return [];
  const even = { float: 1, quantized: 1 };
  const { reasons } = judgeQuantized({ ...measured, p50Ms: even, heldOut: true }, bounds);
  const least = float.known ? float.accuracy - bounds.maxAccuracyLoss : bounds.minAgreement;
  if (accuracy >= least) return reasons;
  const what = float.known ? 'of its labels are right' : 'of its labels are the float model’s';
  return [...reasons, `${percent(accuracy)} ${what}, ${percent(least)} are wanted`];
}

function slowness({ id, measured }: Candidate, { bounds }: ChoiceRequest): string | undefined {
  if (!measured) return undefined;
  const { float, quantized } = measured.p50Ms;
  if (quantized <= float * bounds.maxSlowdown * NOISE) return undefined;
  return `${id} takes ${(quantized / float).toFixed(2)} × the float model's time here: ranked last`;
}

export function chooseVariants(candidates: readonly Candidate[], request: ChoiceRequest): Choice {
  const judged = candidates.map((candidate) => ({
    candidate,
    reasons: inaccuracies(candidate, request),
    slow: slowness(candidate, request),
  }));
  const wanted = request.order ?? [];
  const rank = ({ candidate: { id }, slow }: (typeof judged)[number]): number => {
    const asked = wanted.indexOf(id);
    if (asked >= 0) return asked;
    return wanted.length + ORDER.indexOf(id) + (slow ? ORDER.length : 0);
  };
  const packed = judged.filter(({ reasons }) => reasons.length === 0).sort((a, b) => rank(a) - rank(b));
  const unseen = packed.filter(({ candidate: { measured } }) => measured && !measured.heldOut);
  return {
    packed: packed.map(({ candidate }) => candidate.id),
    notes: [
      ...packed.flatMap(({ candidate: { id }, slow }) => (slow && !wanted.includes(id) ? [slow] : [])),
      ...unseen.map(({ candidate: { id } }) => `${id} was measured on the data that it was calibrated on`),
    ],
    left: judged
      .filter(({ reasons }) => reasons.length > 0)
      .map(({ candidate: { id }, reasons }) => ({ id, reasons })),
  };
}
