import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { CHUNKS_SCHEMA, chunkQueries, unpackChunk } from '../../../agent/src/outbox/sqlite-outbox-chunks.ts';
import { below, seeded } from '../../protocol/batch/random.ts';

const open = () => {
  const database = new Database(':memory:');
  database.exec(CHUNKS_SCHEMA);
  return { database, chunks: chunkQueries(database) };
};
const text = (seq: number) => JSON.stringify({ verdict: 'calm', seq, filler: 'x'.repeat(seq % 90) });

describe('chunks of records', () => {
  it('give back every record in order, whatever was cut away', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = seeded(seed);
      const { chunks } = open();
      const model = new Map<number, string>();
      let next = 0;
      for (let step = 0; step < 25; step++) {
        if (random() < 0.6) {
          const texts = Array.from({ length: 1 + below(random, 20) }, (_, i) => text(next + i));
          chunks.insert('health', { seq: next, at: step, texts, leftOut: 0, alarms: 0 });
          texts.forEach((body, i) => void model.set(next + i, body));
          next += texts.length;
        } else {
          const from = below(random, next + 1);
          const to = from + below(random, 30);
          chunks.delete('health', { from, to });
          for (let seq = from; seq <= to; seq++) model.delete(seq);
        }
        const found = chunks.oldestRecords('health', 10_000).map(({ seq, body }) => [seq, body]);
        const whole = [...model].sort(([a], [b]) => a - b);
        const hole = whole.findIndex(([seq], i) => i > 0 && seq !== whole[i - 1]![0] + 1);
        expect(found, `seed ${seed}`).toEqual(hole === -1 ? whole : whole.slice(0, hole));
        expect(chunks.totals('health').n).toBe(model.size);
      }
    }
  });

  it('stop at a number of records or at a length, but give at least one', () => {
    const { chunks } = open();
    const texts = [text(1), text(2), text(3)];
    chunks.insert('events', { seq: 0, at: 5, texts, leftOut: 4, alarms: 0 });
    expect(chunks.oldestRecords('events', 2)).toHaveLength(2);
    expect(chunks.oldestRecords('events', 9, 1)).toEqual([{ seq: 0, at: 5, body: text(1), leftOut: 4 }]);
    expect(chunks.oldestRecords('health', 9)).toEqual([]);
  });

  it('are deflated when that helps, and readable when not', () => {
    const { database, chunks } = open();
    const texts = Array.from({ length: 60 }, (_, i) => text(i));
    chunks.insert('drift', { seq: 0, at: 0, texts, leftOut: 0, alarms: 0 });
    chunks.insert('drift', { seq: 60, at: 0, texts: ['{"ü":1}'], leftOut: 0, alarms: 0 });
    const rows = database.prepare('SELECT body FROM chunks ORDER BY seq').pluck().all() as Buffer[];
    expect(rows[0]!.length).toBeLessThan(texts.join('\n').length / 4);
    expect(rows[1]!.toString()).toBe('{"ü":1}');
    expect(unpackChunk(rows[0]!)).toEqual(texts);
  });
});
