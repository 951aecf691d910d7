import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { CHUNKS_SCHEMA, chunkQueries, unpackChunk } from '../../../agent/src/outbox/sqlite-outbox-chunks.ts';
import { below, seeded } from '../../protocol/batch/random.ts';

const open = () => {
  const database = new Database(':memory:');
  database.exec(CHUNKS_SCHEMA);
  return { database, chunks: chunkQueries(database) };
};
const text = (seq: number) => JSON.stringify({ seq, filler: 'x'.repeat(seq % 90) });

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
          chunks.insert('health', next, step, texts);
          texts.forEach((body, i) => void model.set(next + i, body));
          next += texts.length;
        } else {
          const from = below(random, next + 1);
          const to = from + below(random, 30);
          chunks.delete('health', { from, to });
          for (let seq = from; seq <= to; seq++) model.delete(seq);
        }
        const found = chunks.oldestRecords('health', 10_000).map(({ seq, body }) => [seq, body]);
        expect(found, `seed ${seed}`).toEqual([...model].sort(([a], [b]) => a - b));
        expect(chunks.totals('health').n).toBe(model.size);
      }
    }
  });

  it('stop at a number of records or at a length, but give at least one', () => {
    const { chunks } = open();
    chunks.insert('events', 0, 5, [text(1), text(2), text(3)]);
    expect(chunks.oldestRecords('events', 2)).toHaveLength(2);
    expect(chunks.oldestRecords('events', 9, 1)).toEqual([{ seq: 0, at: 5, body: text(1) }]);
    expect(chunks.oldestRecords('health', 9)).toEqual([]);
    expect(chunks.spanOf('events', 1)).toEqual({ from: 0, to: 2, records: 3 });
    expect(chunks.spanOf('health', 1)).toBeUndefined();
  });

  it('are deflated when that helps, and readable when not', () => {
    const { database, chunks } = open();
    const texts = Array.from({ length: 60 }, (_, i) => text(i));
    chunks.insert('drift', 0, 0, texts);
    chunks.insert('drift', 60, 0, ['{"ü":1}']);
    const rows = database.prepare('SELECT body FROM chunks ORDER BY seq').pluck().all() as Buffer[];
    expect(rows[0]!.length).toBeLessThan(texts.join('\n').length / 4);
    expect(rows[1]!.toString()).toBe('{"ü":1}');
    expect(unpackChunk(rows[0]!)).toEqual(texts);
  });
});
