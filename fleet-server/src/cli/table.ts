/** Plain text tables for people: aligned columns, no borders, nothing a terminal could misread. */
export interface Column<T> {
  title: string;
  value(row: T): string | number;
  align?: 'right';
}

export const column = <T>(title: string, value: Column<T>['value'], align?: 'right'): Column<T> =>
  align ? { title, value, align } : { title, value };

/** Device names and details come from outside: control characters must not reach a terminal. */
const visible = (value: unknown): string => String(value).replace(/\p{Cc}/gu, '·');

export function formatTable<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  if (rows.length === 0) return 'nothing to show\n';
  const cells = [
    columns.map((c) => c.title),
    ...rows.map((row) => columns.map((c) => visible(c.value(row)))),
  ];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)));
  const pad = (text: string, i: number) =>
    columns[i]!.align === 'right' ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
  return `${cells.map((line) => line.map(pad).join('  ').trimEnd()).join('\n')}\n`;
}

/** One object as `name  value` lines; nested values as JSON. */
export function formatFields(data: object): string {
  const entries = Object.entries(data);
  const width = Math.max(0, ...entries.map(([name]) => name.length));
  const show = (value: unknown) =>
    typeof value === 'object' && value !== null ? JSON.stringify(value) : value;
  return `${entries.map(([name, value]) => `${name.padEnd(width)}  ${visible(show(value))}`).join('\n')}\n`;
}

const UNITS: readonly [number, string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** `3 min ago`; `never` for null. */
export function ago(at: number | null, now: number): string {
  if (at === null) return 'never';
  const unit = UNITS.find(([ms]) => now - at >= ms);
  return unit ? `${Math.floor((now - at) / unit[0])} ${unit[1]} ago` : 'now';
}
