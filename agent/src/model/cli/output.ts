/** What the commands print: tables and records for people, JSON for programs; progress on stderr, on a terminal only. */

const cell = (value: unknown): string => {
  if (typeof value === 'number')
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  if (Array.isArray(value)) return value.map(cell).join(' ');
  if (value !== null && typeof value === 'object') {
    return Object.entries(value)
      .map(([key, inner]) => `${key} ${cell(inner)}`)
      .join(', ');
  }
  return String(value);
};

export function printTable(rows: readonly object[]): void {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = rows.map((row) =>
    columns.map((column) => cell((row as Record<string, unknown>)[column] ?? '')),
  );
  const widths = columns.map((column, c) => Math.max(column.length, ...cells.map((line) => line[c]!.length)));
  const line = (texts: readonly string[]) =>
    texts
      .map((text, c) => text.padEnd(widths[c]!))
      .join('  ')
      .trimEnd();
  console.log(line(columns));
  for (const row of cells) console.log(line(row));
}

export function printRecord(record: object): void {
  const width = Math.max(...Object.keys(record).map((key) => key.length));
  for (const [key, value] of Object.entries(record)) {
    const lines = Array.isArray(value) && typeof value[0] !== 'number' ? value.map(cell) : [cell(value)];
    console.log(`${key.padEnd(width)}  ${lines.join(`\n${' '.repeat(width + 2)}`)}`);
  }
}

export const show = (json: boolean, value: object): void => {
  if (json) console.log(JSON.stringify(value, null, 2));
  else if (Array.isArray(value)) printTable(value);
  else printRecord(value);
};

export const progress = (done: number, total: number, what: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K[${done + 1}/${total}] ${what}`);
};
export const endProgress = (): void => {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K');
};

const EVERY_MS = 200;

type Counter = (done: number, total: number | undefined) => void;

/** One line now and then; `line` is told how many came a second. */
function counter(line: (done: number, total: number | undefined, rate: number) => string): Counter {
  const started = performance.now();
  let shown = started;
  return (done, total) => {
    const now = performance.now();
    if (!process.stderr.isTTY || now - shown < EVERY_MS) return;
    shown = now;
    process.stderr.write(`\r\x1b[2K${line(done, total, (done / (now - started)) * 1000)}`);
  };
}

/** For work of a length that may not be known. */
export const progressOf = (what: string): Counter =>
  counter(
    (done, total, rate) => `${done}${total === undefined ? '' : `/${total}`} ${what}, ${Math.round(rate)}/s`,
  );

const inMb = (bytes: number): string => (bytes / 1_000_000).toFixed(1);

/** Bytes; the total is told once it is known. */
export const bytesProgress = (what: string): Counter =>
  counter((done, total, rate) => {
    const of = total === undefined ? '' : ` of ${inMb(total)}`;
    return `${inMb(done)}${of} MB ${what}, ${inMb(rate)} MB/s`;
  });
