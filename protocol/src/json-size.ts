/**
 * Whether what a JSON text becomes fits a small device. Few bytes can become many: `{},` is three and an object of 56, and V8
 * does not fail when its heap is full, it ends the process; on a board of 512 MB that heap has 128. Estimated from the
 * text's characters, with the sizes that V8's objects have on 64 bits. Signs inside of strings are counted too: that is too
 * much of what nobody sends.
 */
import { type Bytes, MIB } from './units.ts';

/** Three million numbers. */
const MAX_PARSED: Bytes = 48 * MIB;

/** An object and an array with their headers, a key's place, half a string, a value's place and half a boxed number. */
const COSTS: Readonly<Record<string, Bytes>> = { '{': 64, '[': 64, ':': 32, '"': 16, ',': 16 };
const COST = new Uint8Array(128);
for (const sign in COSTS) COST[sign.charCodeAt(0)] = COSTS[sign]!;
/** No shorter text reaches the limit. */
const HARMLESS = MAX_PARSED / Math.max(...COST);

/** @param text bytes are UTF-8 */
export function fitsMemory(text: string | Uint8Array): boolean {
  if (text.length <= HARMLESS) return true;
  const codeAt = typeof text === 'string' ? (i: number) => text.charCodeAt(i) : (i: number) => text[i]!;
  let size = 0;
  for (let i = 0; i < text.length; i++) size += COST[codeAt(i)] ?? 0;
  return size <= MAX_PARSED;
}
