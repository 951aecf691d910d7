import { describe, expect, it } from 'vitest';
import { audit, type Evidence } from '../../../scripts/chaos/audit.ts';
import type { Loss, OutboxStream, StoredBatch } from '../../../scripts/chaos/sqlite-files.ts';

const stream = 'predictions' as const;
const batch = (seq: number, n: number, epoch = 'e1', hash = (i: number) => `h${i}`): StoredBatch => {
  const records = Array.from({ length: n }, (_, i) => ({ stream, epoch, seq: seq + i, hash: hash(seq + i) }));
  return { stream, epoch, seq, n, records };
};
const seen = (to: number, epoch = 'e1') =>
  Array.from({ length: to }, (_, i) => [`${stream}/${epoch}/${i}`, `h${i}`] as const);
const loss = (from: number, to: number, kind: Loss['kind'], epoch = 'e1'): Loss => ({
  ...{ epoch, from, to, kind },
  reason: 'test',
});

/** Ten accepted: 0…7 are stored, 8 is dropped, 9 waits. */
const own = (more: Partial<OutboxStream> = {}): OutboxStream => ({
  ...{ stream, epoch: 'e1', nextSeq: 10, accepted: 10, stored: 8 },
  losses: [loss(8, 8, 'dropped')],
  pending: [9],
  ...more,
});
const evidence = (more: Partial<Evidence> = {}): Evidence => ({
  device: 'agent-1',
  streams: [own()],
  seen: new Map(seen(10)),
  changed: [],
  claimed: new Map([[stream, 10]]),
  server: [batch(0, 5), batch(5, 3)],
  ...more,
});
const findings = (more: Partial<Evidence>) => audit(evidence(more))[0]!.findings.join('\n');

describe('the outside auditor', () => {
  it('closes a ledger whose every number is stored once, waiting or named', () => {
    const [account] = audit(evidence());
    expect(account).toMatchObject({
      accepted: 10,
      stored: 8,
      pending: 1,
      dropped: 1,
      lost: 0,
      duplicates: 0,
    });
    expect(account!.findings).toEqual([]);
  });

  it('finds a batch that the server lost', () => {
    expect(findings({ server: [batch(0, 5)] })).toMatch(/e1\/5 is lost and nobody says so/);
  });

  it('finds a batch that is stored twice, under its number or under another', () => {
    const twice = audit(evidence({ server: [batch(0, 5), batch(5, 3), batch(5, 3)] }))[0]!;
    expect(twice.duplicates).toBe(3);
    const again = batch(0, 5, 'e2');
    expect(audit(evidence({ server: [batch(0, 5), batch(5, 3), again] }))[0]!.duplicates).toBe(5);
  });

  it('finds what came out of order, was never accepted, or says something else', () => {
    expect(findings({ server: [batch(5, 3), batch(0, 5)] })).toMatch(/e1\/0 came out of order/);
    expect(findings({ server: [batch(0, 5), batch(5, 3), batch(10, 1)] })).toMatch(
      /e1\/10 was never accepted/,
    );
    expect(findings({ server: [batch(0, 5, 'e1', () => 'x'), batch(5, 3)] })).toMatch(
      /is not what was accepted/,
    );
    expect(findings({ changed: [`${stream}/e1/3`] })).toMatch(/changed after it was accepted/);
  });

  it('finds what is named and yet stored, and what is named twice', () => {
    expect(findings({ streams: [own({ losses: [loss(7, 8, 'dropped')] })] })).toMatch(
      /named dropped, and the server/,
    );
    expect(findings({ streams: [own({ losses: [loss(8, 8, 'dropped'), loss(8, 8, 'lost')] })] })).toMatch(
      /given up twice/,
    );
  });

  it('holds the agent to its own sums and to what it said', () => {
    expect(findings({ streams: [own({ stored: 7 })] })).toMatch(/the server has 8, the agent counts 7/);
    expect(findings({ streams: [own({ accepted: 11 })] })).toMatch(/come to 10, the agent accepted 11/);
    expect(findings({ claimed: new Map([[stream, 12]]) })).toMatch(/said it accepted 12/);
  });

  it('follows records into a new epoch, and asks for those that did not arrive there', () => {
    const moved = own({
      epoch: 'e2',
      nextSeq: 1,
      accepted: 10,
      stored: 9,
      losses: [loss(8, 8, 'unknown')],
      pending: [],
    });
    const carried = [`${stream}/e2/0`, 'h9'] as const;
    const e2 = batch(0, 1, 'e2', () => 'h9');
    const more = { streams: [moved], server: [batch(0, 5), batch(5, 3), e2] };
    expect(audit(evidence({ ...more, seen: new Map([...seen(10), carried]) }))[0]).toMatchObject({
      ...{ stored: 9, unknown: 1, findings: [] },
    });
    expect(findings({ ...more, server: [batch(0, 5), batch(5, 3)], seen: new Map(seen(10)) })).toMatch(
      /e1\/9 is lost and nobody says so/,
    );
  });
});
