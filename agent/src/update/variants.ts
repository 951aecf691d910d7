/**
 * Which variant of a model a device installs. Pure.
 *
 * 1. Eligible: its backend is there and of the hardware and runtime version that the file was made for. Asked before
 *    anything is downloaded.
 * 2. Of those whose golden vectors pass within their tolerance, the fastest by the median measured here. Closer than 3%
 *    counts as equal; then the manifest's order decides, as it does when nothing can be measured.
 * 3. A measured choice is remembered with what it depends on (ids, backends, hardware, runtime versions): while that stays
 *    the same, a later version downloads that one variant only and is not measured again.
 */
import type { Variant } from '@skein/protocol/manifest.ts';
import type { Bytes, Sha256Hex } from '@skein/protocol/units.ts';
import { type BackendFacts, IN_PROCESS } from '../inference/backend.ts';

/** A variant as the update machine keeps it. */
export interface Candidate {
  variant: string;
  backend: string;
  model: { sha256: Sha256Hex; size: Bytes };
}

export interface Figure {
  variant: string;
  medianUs: number;
}

/** What was measured on this device, and for which circumstances it holds. */
export interface Choice {
  key: string;
  variant: string;
  figures: Figure[];
}

export interface VariantPlan {
  /** In the order in which they are to be tried. */
  candidates: Candidate[];
  /** Should they be measured against each other? */
  measure: boolean;
  /** Why the first is the first, for people. */
  why: string;
  key: string;
  /** Ids of variants that can not run here, and why. */
  left: { variant: string; why: string }[];
  /** The first reason that time may mend; undefined: nothing that is left would come back by waiting. */
  fault: BackendFacts['fault'];
}

const AS_CLOSE_AS = 1.03;

/** −1, 0, 1; missing numbers are 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split('.').map((part) => Number.parseInt(part, 10) || 0));
  for (let i = 0; i < Math.max(left!.length, right!.length); i++) {
    const step = Math.sign((left![i] ?? 0) - (right![i] ?? 0));
    if (step !== 0) return step;
  }
  return 0;
}

/** Why this variant can not run here; null: it can. */
export function misfit({ backend, target, sdk }: Variant, facts: BackendFacts): string | null {
  if (facts.fault) return `${facts.fault.code}: ${facts.fault.detail}`;
  if (target !== undefined && target !== facts.target)
    return `made for ${target}, ${backend} ${facts.target === null ? 'does not say what it is' : `is ${facts.target}`}`;
  if (!sdk || (sdk.min === undefined && sdk.max === undefined)) return null;
  const range = `${sdk.min ?? '0'} to ${sdk.max ?? 'any'}`;
  if (facts.sdk === null) return `needs runtime ${range}, ${backend} does not say its version`;
  const low = sdk.min !== undefined && compareVersions(facts.sdk, sdk.min) < 0;
  const high = sdk.max !== undefined && compareVersions(facts.sdk, sdk.max) > 0;
  return low || high ? `needs runtime ${range}, ${backend} has ${facts.sdk}` : null;
}

/**
 * @param facts by name of the backend
 * @param barred hashes that did harm here
 * @param roomy whether candidates can be held beside each other to be measured
 */
export function planVariants(
  variants: readonly Variant[],
  facts: ReadonlyMap<string, BackendFacts>,
  remembered: Choice | null,
  barred: ReadonlySet<Sha256Hex>,
  roomy: boolean,
): VariantPlan {
  const left: VariantPlan['left'] = [];
  let fault: BackendFacts['fault'] = null;
  const fitting = variants.filter((variant) => {
    const known = facts.get(variant.backend)!;
    const why =
      misfit(variant, known) ?? (barred.has(variant.file.sha256) ? 'its bytes did harm here' : null);
    if (why === null) return true;
    left.push({ variant: variant.id, why });
    fault ??= known.fault;
    return false;
  });
  const candidates = fitting.map(({ id, backend, file }) => ({ variant: id, backend, model: { ...file } }));
  const key = JSON.stringify(
    fitting.map(({ id, precision, backend, target = null }) => {
      const { target: hardware, sdk } = facts.get(backend)!;
      return [id, precision, backend, target, hardware, sdk];
    }),
  );
  const known =
    remembered?.key === key ? candidates.find((c) => c.variant === remembered.variant) : undefined;
  if (known) {
    const why = `fastest when measured here before (${remembered!.figures.map(micros).join(', ')})`;
    return { ...{ key, left, fault, why }, candidates: moveToFront(candidates, known), measure: false };
  }
  if (candidates.length < 2)
    return { ...{ key, left, fault, candidates }, measure: false, why: 'the only one for this device' };
  const why = roomy ? 'to be measured' : 'first that fits; nothing can be measured here';
  return { key, left, fault, candidates, measure: roomy, why };
}

const micros = ({ variant, medianUs }: Figure): string => `${variant} ${Math.round(medianUs)} µs`;

const moveToFront = (candidates: Candidate[], first: Candidate): Candidate[] => [
  first,
  ...candidates.filter((candidate) => candidate !== first),
];

/** @param passed ids in the manifest's order. The fastest; of those as fast as it, the one preferred. */
export function fastest(passed: readonly string[], figures: readonly Figure[]): string {
  const timeOf = (id: string) =>
    figures.find(({ variant }) => variant === id)?.medianUs ?? Number.POSITIVE_INFINITY;
  const best = Math.min(...passed.map(timeOf));
  return passed.find((id) => timeOf(id) <= best * AS_CLOSE_AS) ?? passed[0]!;
}

/** For people: in reports, status and logs. */
export function choiceReason(
  chosen: string,
  { figures, left, why }: { figures: readonly Figure[]; left: VariantPlan['left']; why: string },
): string {
  const measured = figures.toSorted((a, b) => a.medianUs - b.medianUs).map(micros);
  const not = left.map(({ variant, why: because }) => `not ${variant}: ${because}`);
  return [
    `${chosen}: ${why}`,
    ...(measured.length > 0 ? [`medians here ${measured.join(', ')}`] : []),
    ...not,
  ]
    .join('; ')
    .slice(0, 500);
}

export const isInProcess = (backend: string): boolean => IN_PROCESS.includes(backend);
