/**
 * Randomized campaigns against the real verifier, trust client and update machine. SKEIN_LONG=1 makes ten thousand;
 * SKEIN_SIM_SEED chooses where the seeds begin.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MOVE_NAMES } from './attacker.ts';
import { type CampaignResult, runCampaign } from './campaign.ts';
import type { Caught } from './weaknesses.ts';

const LONG = process.env.SKEIN_LONG === '1';
const SEED = Number(process.env.SKEIN_SIM_SEED ?? 20260101);
const CAMPAIGNS = LONG ? 10_000 : 30;
/** Codes that an attacker meets in any few dozen campaigns. */
const USUAL = [
  'METADATA_ROLLBACK',
  'METADATA_EXPIRED',
  'SIGNATURE_INVALID',
  'METADATA_DISAGREES',
  'METADATA_INVALID',
];

describe(`an attacker with broker, server, mirrors, network and online keys (seeds from ${SEED})`, () => {
  it(
    `makes no device run an unapproved or a below-floor model in ${CAMPAIGNS} campaigns, nor keeps it from the next honest one`,
    async () => {
      const results: CampaignResult[] = [];
      for (let seed = SEED; seed < SEED + CAMPAIGNS; seed++) results.push(await runCampaign(seed));
      const sum = (of: (result: CampaignResult) => number) =>
        results.reduce((n, result) => n + of(result), 0);
      // What could not have gone wrong proves nothing: every move was made, and devices did install and crash.
      expect(new Set(results.flatMap(({ moves }) => moves))).toEqual(new Set(MOVE_NAMES));
      expect(new Set(results.map(({ power }) => power))).toEqual(new Set(['network', 'keys']));
      expect(sum(({ installed }) => installed)).toBeGreaterThan(CAMPAIGNS);
      expect(sum(({ trials }) => trials)).toBeGreaterThan(CAMPAIGNS);
      expect(sum(({ crashes }) => crashes)).toBeGreaterThan(CAMPAIGNS);
      const codes = new Set(results.flatMap((result) => [...result.codes.keys()]));
      expect([...codes]).toEqual(
        expect.arrayContaining([...USUAL, 'BELOW_FLOOR', 'PAYLOAD_TOO_LARGE', 'UNREACHABLE']),
      );
    },
    LONG ? 3_600_000 : 120_000,
  );

  it('does the same again with the same seed', async () => {
    expect(await runCampaign(SEED)).toEqual(await runCampaign(SEED));
  });
});

describe('a campaign that can not fail proves nothing', () => {
  it.runIf(LONG)(
    'so a device with one check taken out is caught, whichever it is',
    () => {
      const program = join(import.meta.dirname, 'weaknesses.ts');
      const caught: Caught[] = JSON.parse(
        execFileSync(process.execPath, [program, '1'], { encoding: 'utf8' }),
      );
      expect(caught.length).toBeGreaterThan(10);
      expect(caught.filter(({ seed }) => seed === null)).toEqual([]);
    },
    600_000,
  );
});
