/**
 * Comma-separated text (RFC 4180), or with semicolons or tabs when its first line has more of them: quoted cells may
 * hold separators, doubled quotes and line ends. Pure; lines in, records and samples out.
 *
 * A first line of names is a header; it is one when fewer than half of its cells are numbers. Without one, a first or
 * last cell that is text in the first line is the known class. Limits: 16 Mi characters a record, 1 Mi cells.
 */
import type { Line } from './lines.ts';
import { type Entry, refuse } from './samples.ts';

export const MAX_RECORD_CHARACTERS = 1 << 24;
const MAX_CELLS = 1 << 20;
const TRUTH_COLUMNS = ['label', 'truth'];

export interface Row {
  /** Of the record's first line, from 1. */
  line: number;
  cells: string[];
}

const quotesIn = (text: string): number => text.split('"').length - 1;

const separatorOf = (line: string): string => {
  const most = [',', ';', '\t'].map((c) => [line.split(c).length, c] as const);
  return most.reduce((best, next) => (next[0] > best[0] ? next : best))[1];
};

/** Cells of a record whose quotes are in pairs; a quote inside a plain cell may still leave a later one open. */
function cellsOf(record: string, separator: string): string[] {
  if (!record.includes('"')) return record.split(separator);
  const cells: string[] = [];
  for (let at = 0; at <= record.length; ) {
    const start = at + /^ */.exec(record.slice(at, at + 64))![0].length;
    let text = '';
    if (record[start] === '"') {
      let from = start + 1;
      for (;;) {
        const close = record.indexOf('"', from);
        if (close < 0) return [...cells, text + record.slice(from)];
        text += record.slice(from, close);
        at = close + 1;
        if (record[at] !== '"') break;
        text += '"';
        from = at + 1;
      }
    }
    const end = record.indexOf(separator, at);
    cells.push(text + record.slice(at, end < 0 ? undefined : end));
    if (end < 0) return cells;
    at = end + separator.length;
  }
  return cells;
}

/** Joins lines to records. */
export class RecordReader {
  readonly #where: string;
  #separator: string | undefined;
  #open: { line: number; parts: string[]; quotes: number; characters: number } | undefined;

  constructor(where: string) {
    this.#where = where;
  }

  /** A record, when `line` ends one; empty lines are none. @throws SkeinError SOURCE_INVALID */
  push({ number, text }: Line): Row | undefined {
    if (!this.#open && text.trim() === '') return undefined;
    this.#open ??= { line: number, parts: [], quotes: 0, characters: 0 };
    const open = this.#open;
    open.parts.push(text);
    open.quotes += quotesIn(text);
    open.characters += text.length;
    if (open.characters > MAX_RECORD_CHARACTERS) throw this.#unclosed();
    if (open.quotes % 2 === 1) return undefined;
    this.#open = undefined;
    const record = open.parts.join('\n');
    this.#separator ??= separatorOf(record);
    const cells = cellsOf(record, this.#separator);
    if (cells.length > MAX_CELLS) throw refuse(`${this.#where} line ${open.line}`, `${cells.length} cells`);
    return { line: open.line, cells };
  }

  /** @throws SkeinError SOURCE_INVALID when a quoted cell was left open */
  end(): void {
    if (this.#open) throw this.#unclosed();
  }

  #unclosed() {
    return refuse(`${this.#where} line ${this.#open!.line}`, 'a quoted cell has no closing quote');
  }
}

const MISSING = new Set(['', 'nan', 'null', 'na', 'n/a', 'none', '-nan']);
const INFINITE = /^([-+]?)(inf|infinity)$/i;

/** NaN where the cell is missing; undefined for text. */
export function numberOf(cell: string): number | undefined {
  const text = cell.trim();
  if (MISSING.has(text.toLowerCase())) return Number.NaN;
  const value = Number(text);
  if (!Number.isNaN(value)) return value;
  const infinite = INFINITE.exec(text);
  return infinite ? (infinite[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY) : undefined;
}

export interface CsvLayout {
  columns: string[] | undefined;
  cells: number;
  /** Index of the known class's cell; -1: none. */
  truthAt: number;
  /** The first record is the header, not a sample. */
  header: boolean;
}

function truthIndex(names: readonly string[], wanted: string | undefined, where: string): number {
  if (wanted === undefined) return names.findIndex((name) => TRUTH_COLUMNS.includes(name));
  const at = names.indexOf(wanted);
  const found = `no column \`${wanted}\`; there are ${names.slice(0, 20).join(', ')}`;
  if (at < 0) throw refuse(where, found, 'Name the column of the known class as the file does.');
  return at;
}

/** @param truthColumn name of the column with the known class. @throws SkeinError SOURCE_INVALID */
export function csvLayout(where: string, first: Row, truthColumn?: string): CsvLayout {
  const { cells } = first;
  const isText = cells.map((cell) => numberOf(cell) === undefined);
  const texts = isText.filter(Boolean).length;
  if (texts > 0 && 2 * (cells.length - texts) < cells.length) {
    const names = cells.map((cell) => cell.trim());
    const truthAt = truthIndex(names, truthColumn, where);
    const columns = names.filter((_, c) => c !== truthAt);
    const twice = columns.find((name, c) => columns.indexOf(name) !== c);
    if (twice !== undefined) throw refuse(where, `two columns are named \`${twice}\``);
    return { columns, cells: cells.length, truthAt, header: true };
  }
  if (truthColumn !== undefined) throw refuse(where, 'it has no header, so no column can be named');
  const truthAt = texts !== 1 ? -1 : isText[0] ? 0 : isText.at(-1) ? cells.length - 1 : -1;
  return { columns: undefined, cells: cells.length, truthAt, header: false };
}

/** A record as a sample, or what is wrong with it. */
export function csvSample(name: string, layout: CsvLayout, { line, cells }: Row): Entry {
  const where = `${name} line ${line}`;
  if (cells.length !== layout.cells)
    return { where, problem: refuse(where, `${cells.length} cells, the first line has ${layout.cells}`) };
  const numbers = new Float64Array(layout.cells - (layout.truthAt < 0 ? 0 : 1));
  let at = 0;
  for (let c = 0; c < cells.length; c++) {
    if (c === layout.truthAt) continue;
    const value = numberOf(cells[c]!);
    if (value === undefined) {
      const column = layout.columns ? `column \`${layout.columns[at]}\`` : `cell ${c + 1}`;
      return {
        where,
        problem: refuse(where, `${column} holds “${cells[c]!.slice(0, 40)}”, a number is expected`),
      };
    }
    numbers[at++] = value;
  }
  const truth = layout.truthAt < 0 ? undefined : cells[layout.truthAt]!.trim();
  return { where, truth, content: { kind: 'values', shape: [numbers.length], values: numbers } };
}
