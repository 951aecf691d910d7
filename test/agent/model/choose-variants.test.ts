import { type Candidate, type ChoiceRequest, chooseVariants } from '@skein/agent/model/choose-variants.ts';
import { DEFAULT_BOUNDS } from '@skein/agent/model/judge-quantized.ts';
import { describe, expect, it } from 'vitest';

const made = (id: string, slowdown: number, agreement = 1, accuracy = 1, heldOut = true): Candidate => ({
  id,
  accuracy,
  measured: {
    sqnrDb: 30,
    agreement,
    samples: 100,
    outputs: [{ name: 'y', sqnrDb: 30, agreement }],
    accuracy: null,
    p50Ms: { float: 1, quantized: slowdown },
    heldOut,
  },
});
const float: Candidate = { id: 'fp32', accuracy: 1 };
const choose = (candidates: Candidate[], change: Partial<ChoiceRequest> = {}) =>
  chooseVariants(candidates, { bounds: DEFAULT_BOUNDS, float: { accuracy: 1, known: false }, ...change });

describe('choosing variants', () => {
  it('puts the smallest first among those that are not slower', () => {
    expect(choose([float, made('fp16', 0.99), made('int8', 0.7)])).toMatchObject({
      packed: ['int8', 'fp16', 'fp32'],
      left: [],
      notes: [],
    });
  });

  it('ranks what is slower last, and says by how much', () => {
    const { packed, notes } = choose([float, made('int8', 1.42)]);
    expect(packed).toEqual(['fp32', 'int8']);
    expect(notes).toEqual(["int8 takes 1.42 × the float model's time here: ranked last"]);
  });

  it('does not let noise decide', () => {
    expect(choose([float, made('int8', 1.05)]).packed).toEqual(choose([float, made('int8', 0.95)]).packed);
  });

  it('keeps an order that was asked for, whatever was measured', () => {
    expect(choose([float, made('int8', 3)], { order: ['int8'] })).toMatchObject({
      packed: ['int8', 'fp32'],
      notes: [],
    });
  });

  it('leaves out what disagrees with float, even when it was asked for first', () => {
    const { packed, left } = choose([float, made('int8', 0.5, 0.9)], { order: ['int8'] });
    expect(packed).toEqual(['fp32']);
    expect(left).toEqual([{ id: 'int8', reasons: [expect.stringContaining('agrees with float on 90.00%')] }]);
  });

  it('leaves out what is wrong more often on known classes than allowed', () => {
    const known = {
      bounds: { ...DEFAULT_BOUNDS, maxAccuracyLoss: 0.01 },
      float: { accuracy: 0.99, known: true },
    };
    expect(choose([float, made('int8', 0.5, 1, 0.985)], known).packed).toEqual(['int8', 'fp32']);
    expect(choose([float, made('int8', 0.5, 1, 0.965)], known).left[0]!.reasons).toEqual([
      '96.50% of its labels are right, 98.00% are wanted',
    ]);
  });

  it('says when a variant was measured on what it was calibrated on', () => {
    expect(choose([float, made('int8', 0.5, 1, 1, false)]).notes).toEqual([
      'int8 was measured on the data that it was calibrated on',
    ]);
  });
});
