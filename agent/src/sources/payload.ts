/**
 * A payload that arrived, to rows: a JSON object (one row), a JSON array of objects, NDJSON, or a plain number, which
 * goes by the name it is given or, with a mapping, is what `$` stands for. Bounded before it is parsed.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { parseBounded } from '../bounded-json.ts';
import { type Complain, type Mapping, type Row, rowOf } from './json-rows.ts';

export interface PayloadRules {
  maxBytes: Bytes;
  /** Rows of one payload; 1: arrays and NDJSON are no reading. */
  maxRows: number;
  mapping: Mapping | undefined;
}

export type ReadPayload = (payload: Uint8Array, name: string) => Row[];

const decoder = new TextDecoder('utf-8', { fatal: true });
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/;

/** @returns a reader that throws SkeinError SOURCE_INVALID, saying where, or PAYLOAD_TOO_LARGE. */
export const payloadReader =
  ({ maxBytes, maxRows, mapping }: PayloadRules): ReadPayload =>
  (payload, name) => {
    const complain = complainer(name);
    if (payload.length > maxBytes)
      throw complain(
        `${payload.length} bytes, at most ${maxBytes} are taken`,
        'Raise the source’s `maxSize`.',
      );
    const text = textOf(payload, complain);
    if (NUMBER.test(text)) return [numberRow(Number(text), name, mapping, complain)];
    return itemsOf(text, maxRows, complain).map(({ json, at }) =>
      rowOf(json, mapping, (what, fix) => complain(`${at}${what}`, fix)),
    );
  };

const complainer =
  (name: string): Complain =>
  (what, fix) =>
    new SkeinError('SOURCE_INVALID', `${name.slice(0, 128)}: ${what}`, {
      fix: fix ?? 'Send one flat JSON object of numbers, or name the paths in the source’s `values`.',
    });

function textOf(payload: Uint8Array, complain: Complain): string {
  try {
    return decoder.decode(payload);
  } catch {
    throw complain('not UTF-8 text');
  }
}

/** The last level of a topic names a lone number. */
function numberRow(value: number, name: string, mapping: Mapping | undefined, complain: Complain): Row {
  return mapping
    ? rowOf(value, mapping, complain)
    : { values: { [name.slice(name.lastIndexOf('/') + 1)]: value } };
}

interface Item {
  json: unknown;
  /** Which of several, for errors. */
  at: string;
}

function itemsOf(text: string, maxRows: number, complain: Complain): Item[] {
  const whole = parsed(text);
  if (whole === undefined && maxRows > 1) return linesOf(text, maxRows, complain);
  if (whole === undefined) throw complain(`“${text.slice(0, 40)}” is not JSON`);
  if (!Array.isArray(whole.json) || maxRows === 1) return [{ json: whole.json, at: '' }];
  if (whole.json.length > maxRows) throw complain(`more than ${maxRows} readings`);
  return whole.json.map((json: unknown, i) => ({ json, at: `reading ${i}: ` }));
}

function linesOf(text: string, maxRows: number, complain: Complain): Item[] {
  const lines = text.split('\n').flatMap((line, i) => (line.trim() === '' ? [] : [{ line, number: i + 1 }]));
  if (lines.length > maxRows) throw complain(`more than ${maxRows} lines`);
  return lines.map(({ line, number }) => {
    const item = parsed(line);
    if (!item) throw complain(`line ${number}: “${line.slice(0, 40)}” is not JSON`);
    return { json: item.json, at: `line ${number}: ` };
  });
}

/** @throws SkeinError PAYLOAD_TOO_LARGE */
function parsed(text: string): { json: unknown } | undefined {
  try {
    return { json: parseBounded(text) };
  } catch (thrown) {
    if (thrown instanceof SkeinError) throw thrown;
    return undefined;
  }
}
