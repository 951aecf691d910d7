/** Which records of a batch this version understands: a newer device may send more than we know. */
import type { TSchema } from 'typebox';
import { DriftRecord, EventRecord, HealthRecord, PredictionRecord, type RecordOf } from '../records.ts';
import { validatorOf } from '../schema.ts';
import type { Stream } from '../topics.ts';

const check = (schema: TSchema): ((value: unknown) => boolean) => validatorOf(schema).Check;

const CHECKS: Record<Stream, (value: unknown) => boolean> = {
  predictions: check(PredictionRecord),
  health: check(HealthRecord),
  drift: check(DriftRecord),
  events: check(EventRecord),
};

export function isRecord<S extends Stream>(stream: S, value: unknown): value is RecordOf[S] {
  return CHECKS[stream](value);
}
