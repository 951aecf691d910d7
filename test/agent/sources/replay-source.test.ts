import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { fileLines } from '../../../agent/src/sources/disk-lines.ts';
import { lineSplitter } from '../../../agent/src/sources/lines.ts';
import type { Reading } from '../../../agent/src/sources/port.ts';
import { RECORDING_FORMATS, type RecordingFormat } from '../../../agent/src/sources/recordings.ts';
import { replaySource } from '../../../agent/src/sources/replay-source.ts';
import { systemClock } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';

const directory = mkdtempSync(join(tmpdir(), 'skein-replay-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function* from(lines: string[]) {
  yield* lines;
}

const play = (
  lines: () => AsyncIterable<string>,
  format: RecordingFormat,
  periodMs: number,
  loop = false,
) => {
  const clock = manualClock();
  const readings: Reading[] = [];
  const failures: Error[] = [];
  let ended = 0;
  const source = replaySource(
    { name: 'replay', stallAfterMs: 60_000, periodMs, loop },
    clock,
    lines,
    RECORDING_FORMATS[format],
  );
  source.start({
    reading: (r) => readings.push(r),
    failed: (e) => failures.push(e),
    ended: () => (ended += 1),
  });
  return { clock, source, readings, failures, ended: () => ended };
};

describe('a replayed recording', () => {
  it('delivers a CSV row per period, the known class beside the values, and then ends', async () => {
    const replay = play(() => from(['a,b,truth', '1,2,idle', '', '3,,busy']), 'csv', 500);
    await replay.clock.advance(0);
    expect(replay.readings).toHaveLength(1);
    await replay.clock.advance(5_000);
    expect(replay.readings.map(({ mono, values, truth }) => ({ mono, values, truth }))).toEqual([
      { mono: 0, values: { a: 1, b: 2 }, truth: 'idle' },
      { mono: 500, values: { a: 3, b: Number.NaN }, truth: 'busy' },
    ]);
    expect(replay.ended()).toBe(1);
  });

  it('starts again at the end when told to loop, and stops at once when told to stop', async () => {
    const replay = play(() => from(['a', '1', '2']), 'csv', 100, true);
    await replay.clock.advance(1_000);
    await replay.source.stop();
    expect(replay.readings.length).toBeGreaterThan(8);
    expect(replay.ended()).toBe(0);
    expect(replay.clock.pendingTimers()).toBe(0);
  });

  it('reads the gas recording’s lines', async () => {
    const replay = play(() => from(['3;10.000000 1:15596.1 2:-1.5 3:4e2 ']), 'gas', 0);
    await replay.clock.advance(1);
    expect(replay.readings[0]).toMatchObject({
      values: { x1: 15596.1, x2: -1.5, x3: 400 },
      truth: 'ammonia',
    });
  });

  it.each([
    ['csv', ['a,b', '1'], /line 2: 1 cells, the header has 2/],
    ['csv', ['a,b', '1,x'], /line 2: “x” in column b is not a number/],
    ['gas', ['nine;1 1:2'], /line 1: “nine;1” is not class;concentration/],
    ['jsonl', ['[1,2]'], /line 1: not a JSON object/],
    ['jsonl', ['{"a":1}', '{"a":"hot"}'], /line 2: a is not a number/],
  ] as const)('names the line that is wrong in %s', async (format, lines, message) => {
    const replay = play(() => from([...lines]), format, 0);
    await replay.clock.advance(10);
    expect(replay.failures).toHaveLength(1);
    expect(replay.failures[0]!.message).toMatch(message);
    expect(replay.ended()).toBe(0);
  });

  it('takes null and booleans in JSON lines as missing and 0 or 1', async () => {
    const replay = play(() => from(['{"a":null,"b":true,"truth":"ok"}']), 'jsonl', 0);
    await replay.clock.advance(1);
    expect(replay.readings[0]).toMatchObject({ values: { a: Number.NaN, b: 1 }, truth: 'ok' });
  });
});

describe('lines of a file', () => {
  const all = async (path: string) => {
    const lines: string[] = [];
    for await (const line of fileLines(path)) lines.push(line);
    return lines;
  };

  it('are the same from a plain and from a gzipped file, with or without a last newline', async () => {
    const text = `${Array.from({ length: 5000 }, (_, i) => `${i},ß`).join('\n')}`;
    writeFileSync(join(directory, 'a.csv'), text);
    writeFileSync(join(directory, 'a.csv.gz'), gzipSync(`${text}\n`));
    expect(await all(join(directory, 'a.csv'))).toEqual(text.split('\n'));
    expect(await all(join(directory, 'a.csv.gz'))).toEqual(text.split('\n'));
  });

  it('fail with the path when the file is not there', async () => {
    await expect(all(join(directory, 'none.csv'))).rejects.toThrow(/cannot read .*none\.csv/);
  });

  it('fail on a truncated gzip stream', async () => {
    const path = join(directory, 'cut.csv.gz');
    writeFileSync(path, gzipSync('a,b\n1,2\n'.repeat(1000)).subarray(0, 30));
    await expect(all(path)).rejects.toThrow(/cannot read/);
  });

  it('leave out a line beyond the bound, once, and go on behind it', () => {
    const errors: Error[] = [];
    const splitter = lineSplitter(10, (error) => errors.push(error));
    const bytes = (text: string) => new TextEncoder().encode(text);
    const lines = ['ok\n12345678901', '23456\nb\n', '123456789012\nc\n', 'd'].flatMap((t) =>
      splitter.push(bytes(t)),
    );
    expect([...lines, ...splitter.end()]).toEqual(['ok', 'b', 'c', 'd']);
    expect(errors).toHaveLength(2);
  });

  const gas = join(import.meta.dirname, '../../../../shared/data/gas/batch1.dat.gz');
  it.runIf(existsSync(gas))('replay the whole gas recording', async () => {
    const readings: Reading[] = [];
    await new Promise<void>((resolve, reject) => {
      replaySource(
        { name: 'gas', stallAfterMs: 1000, periodMs: 0, loop: false },
        systemClock,
        () => fileLines(gas),
        RECORDING_FORMATS.gas,
      ).start({ reading: (r) => readings.push(r), failed: reject, ended: resolve });
    });
    expect(readings).toHaveLength(445);
    expect(Object.keys(readings[0]!.values)).toHaveLength(128);
  });
});

describe('a recording in its own time', () => {
  const playInTime = (lines: string[], format: RecordingFormat, speed: number) => {
    const clock = manualClock();
    const seen: { mono: number; values: Record<string, number> }[] = [];
    const quiet: number[] = [];
    const failures: string[] = [];
    const source = replaySource(
      { name: 'replay', stallAfterMs: 60_000, periodMs: 1_000, speed, loop: false },
      clock,
      () => from(lines),
      () => RECORDING_FORMATS[format]('t'),
    );
    source.start({
      reading: ({ mono, values }) => seen.push({ mono, values: { ...values } }),
      failed: (e) => failures.push(e.message),
      ended: () => {},
      quiet: (ms) => quiet.push(ms),
    });
    return { clock, seen, quiet, failures };
  };

  it.each([
    ['csv', ['t,a', '1000,1', '1000.5,2', '1060.5,3']],
    ['csv', ['"t",a', '1763812345000,1', '1763812345500,2', '1763812405500,3']],
    ['csv', ['t,a', '2026-01-01 00:00:00,1', '2026-01-01 00:00:00.5,2', '2026-01-01T00:01:00.500Z,3']],
    ['jsonl', ['{"t":1000,"a":1}', '{"t":1000.5,"a":2}', '{"t":1060.5,"a":3}']],
  ] as const)('keeps its pauses, scaled, and says that it waits: %s %j', async (format, lines) => {
    const { clock, seen, quiet } = playInTime([...lines], format, 10);
    await clock.advance(10_000);
    expect(seen).toEqual([
      { mono: 0, values: { a: 1 } },
      { mono: 50, values: { a: 2 } },
      { mono: 6_050, values: { a: 3 } },
    ]);
    expect(quiet).toEqual([6_000]);
  });

  it('goes on without a pause where the recorder’s clock was set back', async () => {
    const { clock, seen } = playInTime(['t,a', '100,1', '50,2', '51,3'], 'csv', 1);
    await clock.advance(10_000);
    expect(seen.map(({ mono }) => mono)).toEqual([0, 0, 1_000]);
  });

  it.each([
    [['t,a', 'noon,1'], 'line 2: “noon” in column t is no time'],
    [['t,a', ',1'], 'line 2: “” in column t is no time'],
    [['x,a', '1,1'], 'line 1: no column t'],
  ])('says which time is none: %j', async (lines, message) => {
    const { clock, failures } = playInTime(lines, 'csv', 1);
    await clock.advance(10);
    expect(failures).toEqual([message]);
  });
});
