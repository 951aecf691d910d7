/**
 * JSON that means the same to everyone who reads it, in bounded work. Refused besides what is no JSON: a member that
 * stands twice in one object (readers differ in which one they take, so two of them could be told two things by one
 * signed text), and more than {@link MAX_NESTING} levels, found before anything is built.
 */
export const MAX_NESTING = 100;

/** Why a text is refused that may well be JSON; the words hold nothing of the text. */
export class JsonRefused extends Error {}

const [QUOTE, BACKSLASH, COLON, OPEN, CLOSE] = [0x22, 0x5c, 0x3a, 1, 2];
/** A text is looked through once, and before anything is compiled for it: by one step a character. */
const SIGNS = new Uint8Array(128);
SIGNS.set([QUOTE], QUOTE);
SIGNS.set([COLON], COLON);
for (const bracket of '[{') SIGNS[bracket.charCodeAt(0)] = OPEN;
for (const bracket of ']}') SIGNS[bracket.charCodeAt(0)] = CLOSE;

/** @throws JsonRefused, SyntaxError */
export function parseJson(text: string): unknown {
  const written = membersWritten(text);
  const value: unknown = JSON.parse(text);
  if (membersOf(value) === written) return value;
  throw new JsonRefused('a member stands twice in one object');
}

/** Colons outside of strings: one for each member. Of a text that is no JSON it is any number. */
function membersWritten(text: string): number {
  let [members, depth] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    const sign = SIGNS[text.charCodeAt(at)];
    if (!sign) continue;
    if (sign === QUOTE) at = endOfString(text, at);
    else if (sign === COLON) members++;
    else if (sign === CLOSE) depth--;
    else if (++depth > MAX_NESTING) throw new JsonRefused(`nested deeper than ${MAX_NESTING} levels`);
  }
  return members;
}

/** Where the string that begins at `from` ends, or the text does. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === QUOTE) return at;
    if (unit === BACKSLASH) at++;
  }
  return text.length;
}

function membersOf(whole: unknown): number {
  let members = 0;
  const open: object[] = [];
  const look = (part: unknown) => {
    if (typeof part === 'object' && part !== null) open.push(part);
  };
  look(whole);
  for (let value = open.pop(); value; value = open.pop()) {
    if (Array.isArray(value)) for (const part of value) look(part);
    else
      for (const key in value) {
        members++;
        look((value as Record<string, unknown>)[key]);
      }
  }
  return members;
}

const isPart = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** Whether a value has at most `limit` members and elements in all, and no more than {@link MAX_NESTING} levels. */
export function isWithin(whole: unknown, limit: number): boolean {
  let left = limit;
  let level = [whole].filter(isPart);
  for (let depth = 0; level.length > 0; depth++) {
    const below: object[] = [];
    for (const value of level) {
      const parts: unknown[] = Array.isArray(value) ? value : Object.values(value);
      left -= parts.length;
      if (left < 0 || depth > MAX_NESTING) return false;
      for (const part of parts) if (isPart(part)) below.push(part);
    }
    level = below;
  }
  return true;
}

/** The beginning of a value, in order of appearance: at most `limit` members and elements in all. */
export function beginningOf(whole: unknown, limit: number): unknown {
  let left = limit;
  /** How many of so many may still be taken. */
  const take = (count: number): number => {
    const taken = Math.min(count, Math.max(left, 0));
    left -= count;
    return taken;
  };
  const cut = (value: unknown, depth: number): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    if (depth > MAX_NESTING) left = 0;
    if (Array.isArray(value)) return value.slice(0, take(value.length)).map((part) => cut(part, depth + 1));
    const keys = Object.keys(value);
    const taken = keys.slice(0, take(keys.length));
    return Object.fromEntries(
      taken.map((key) => [key, cut((value as Record<string, unknown>)[key], depth + 1)]),
    );
  };
  return cut(whole, 0);
}
