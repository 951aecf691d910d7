/**
 * Did the stage do harm? A sequential test: each question is an e-value, a bet against "no harm" whose expectation
 * is at most 1 while there is none. By Ville's inequality it exceeds 1/α at any time, however often one looks, with
 * probability at most α. 20 halts (5% false halts), 4 asks a person.
 *
 * Errors: inferences of updated devices against those of the control cohort; with no control, against the error rate
 * that the rollout allows. Latency: a device is slow when its p95 grew by more than √maxLatencyRatio over its own
 * previous model (paired, so slow boards do not look like harm) and is above the scheduler's noise; harm is when
 * more than half are.
 * What it can not do: with few devices or inferences a small harm is not seen. `advance` means none was found.
 */
import { evidenceAbove } from '@skein/protocol/drift/evidence.ts';
import { LATENCY_NOISE_US } from '@skein/protocol/orders.ts';

export interface GateSample {
  /** All attempts, errors included. */
  inferences: number;
  errors: number;
  p95LatencyUs: number;
  /** Of the model before, on the same device. */
  previousP95Us: number | null;
}

export interface GateQuestion {
  treated: readonly GateSample[];
  control: readonly GateSample[];
  /** Devices of the stage that proved nothing either way. */
  unproven: number;
  maxErrorRate: number;
  maxLatencyRatio: number;
}

export interface GateAnswer {
  decision: 'advance' | 'hold' | 'halt' | 'inconclusive';
  detail: string;
}

export const HALT_AT = 20;
export const HOLD_AT = 4;

export function judgeStage(question: GateQuestion): GateAnswer {
  const findings = [errorHarm(question), latencyHarm(question)].sort((a, b) => b.evidence - a.evidence);
  const worst = findings[0]!;
  if (worst.evidence >= HALT_AT) return { decision: 'halt', detail: worst.detail };
  if (worst.evidence >= HOLD_AT) return { decision: 'hold', detail: worst.detail };
  const { treated, unproven } = question;
  if (treated.length === 0 || treated.length < unproven) {
    return {
      decision: 'inconclusive',
      detail: `${treated.length} devices proved it, ${unproven} stayed unproven`,
    };
  }
  return { decision: 'advance', detail: `no harm found on ${treated.length} devices` };
}

interface Finding {
  evidence: number;
  detail: string;
}

function errorHarm({ treated, control, maxErrorRate }: GateQuestion): Finding {
  const [k, n] = [sum(treated, 'errors'), sum(treated, 'inferences')];
  const [controlK, controlN] = [sum(control, 'errors'), sum(control, 'inferences')];
  const detail = `${k} errors in ${n} inferences`;
  if (controlN === 0)
    return { evidence: evidenceAbove(k, n, maxErrorRate), detail: `${detail}, ${maxErrorRate} allowed` };
  // Given the errors of both, those of the treated are Binomial(all, share of inferences) while rates are equal.
  const evidence = evidenceAbove(k, k + controlK, n / (n + controlN));
  return { evidence, detail: `${detail}, control ${controlK} in ${controlN}` };
}

function latencyHarm({ treated, maxLatencyRatio }: GateQuestion): Finding {
  const limit = Math.sqrt(maxLatencyRatio);
  const paired = treated.filter((s) => s.previousP95Us !== null && s.previousP95Us > 0);
  const allowed = (s: GateSample) => Math.max(limit * s.previousP95Us!, LATENCY_NOISE_US);
  const slow = paired.filter((s) => s.p95LatencyUs > allowed(s)).length;
  return {
    evidence: evidenceAbove(slow, paired.length, 0.5),
    detail: `${slow} of ${paired.length} devices infer more than ${limit.toFixed(2)} times slower than before`,
  };
}

const sum = (samples: readonly GateSample[], key: 'errors' | 'inferences'): number =>
  samples.reduce((total, sample) => total + sample[key], 0);
