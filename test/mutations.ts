/**
 * Bytes as damage and attackers leave them. With SKEIN_LONG=1 every byte is changed in several ways, and every length is
 * tried; otherwise a sample, drawn from SKEIN_SEED (printed with each case, so that a failure can be run again).
 */
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';

export const LONG = process.env.SKEIN_LONG === '1';
export const SEED = Number(process.env.SKEIN_SEED ?? Math.floor(Math.random() * 2 ** 31));

export interface Mutation {
  /** What was done, and the seed to do it again. */
  what: string;
  bytes: Uint8Array;
}

/** A bit, the case of a letter, the sign bit, all bits: each leads into another branch of some parser. */
const FLIPS = [0x01, 0x02, 0x04, 0x20, 0x80, 0xff];
const TAILS = ['\0', ' ', '\n', '}', '{}', '\ufeff', '\0'.repeat(4096)];
const encoder = new TextEncoder();

/**
 * Every one is different from `original`, which is not touched.
 * @param sample how many of each kind when not every one
 * @param every where one case costs much, it stays a sample
 */
export function* mutations(original: Uint8Array, sample = 40, every = LONG): Generator<Mutation> {
  const good = Uint8Array.from(original); // a Buffer's `slice` would share its bytes, and each change would stay
  const uniform = seededUniform(SEED);
  const below = (limit: number) => Math.floor(uniform() * limit);
  const said = (what: string) => `${what} (SKEIN_SEED=${SEED})`;
  const places = every ? good.keys() : Array.from({ length: sample }, () => below(good.length));
  for (const at of places) {
    for (const flip of every ? FLIPS : [FLIPS[below(FLIPS.length)]!])
      yield { what: said(`byte ${at} ^ ${flip}`), bytes: flipped(good, at, flip) };
  }
  const lengths = every ? good.keys() : Array.from({ length: sample }, () => below(good.length));
  for (const length of lengths) yield { what: said(`cut to ${length}`), bytes: good.slice(0, length) };
  for (const tail of TAILS) {
    const more = encoder.encode(tail);
    yield { what: said(`followed by ${JSON.stringify(tail.slice(0, 4))}`), bytes: join(good, more) };
    yield { what: said(`behind ${JSON.stringify(tail.slice(0, 4))}`), bytes: join(more, good) };
  }
  yield { what: said('twice'), bytes: join(good, good) };
  for (let round = 0; round < (every ? 2000 : sample); round++) {
    const [from, to] = [below(good.length), below(good.length)].sort((a, b) => a - b) as [number, number];
    const part = good.slice(from, to + 1);
    const [what, bytes] = [
      ['left out', join(good.slice(0, from), good.slice(to + 1))],
      ['doubled', join(good.slice(0, to + 1), part, good.slice(to + 1))],
      [
        'zeroed',
        join(
          good.slice(0, from),
          part.map(() => 0),
          good.slice(to + 1),
        ),
      ],
    ][round % 3] as [string, Uint8Array];
    if (Buffer.compare(bytes, good) !== 0) yield { what: said(`${from} to ${to} ${what}`), bytes };
  }
}

function flipped(good: Uint8Array, at: number, flip: number): Uint8Array {
  const bytes = good.slice();
  bytes[at]! ^= flip;
  return bytes;
}

const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
