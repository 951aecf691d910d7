/** The models of everything in a patch but values: operations, their numbers, literal bytes. Both ends run them. Pure. */
import { adaptiveBits, type BinaryCoder } from './binary-coder.ts';
import { OPERATIONS } from './format.ts';

/** Bits of a number's length: 0 … 31. */
const LENGTH_BITS = 5;
/** So many bits below the leading one are modelled by length. */
const MODELLED = 3;

/** Whole numbers below 2^31: length in bits, then the bits below the leading one. */
export class NumberModel {
  readonly #length = adaptiveBits(1 << LENGTH_BITS);
  readonly #leading = adaptiveBits((1 << LENGTH_BITS) << MODELLED);

  code(coder: BinaryCoder, value: number): number {
    const length = tree(coder, this.#length, 0, LENGTH_BITS, 32 - Math.clz32(value));
    if (length === 0) return 0;
    const modelled = Math.min(MODELLED, length - 1);
    const rest = length - 1 - modelled;
    const leading = tree(
      coder,
      this.#leading,
      length << MODELLED,
      modelled,
      (value >>> rest) & ((1 << modelled) - 1),
    );
    const found = ((1 << modelled) | leading) << rest;
    return rest > 0 ? found | coder.raw(rest, value & ((1 << rest) - 1)) : found;
  }
}

/** `bits` bits, highest first, each in the context of those before. `from`: where the tree's cells begin. */
function tree(coder: BinaryCoder, cells: Int32Array, from: number, bits: number, value: number): number {
  let node = 1;
  for (let left = bits - 1; left >= 0; left--)
    node = node * 2 + coder.bit(cells, from + node, (value >>> left) & 1);
  return node - (1 << bits);
}

export class OperationModels {
  readonly #coder: BinaryCoder;
  readonly #operation = adaptiveBits(OPERATIONS * OPERATIONS);
  readonly #frameEnd = adaptiveBits(1);
  readonly #backwards = adaptiveBits(1);
  readonly #distance = new NumberModel();
  readonly #numbers = new Map<string, NumberModel>();
  #last = 0;

  constructor(coder: BinaryCoder) {
    this.#coder = coder;
  }

  operation(value: number): number {
    this.#last = tree(this.#coder, this.#operation, this.#last * OPERATIONS, 4, value);
    return this.#last;
  }

  frameEnd(ends: boolean): boolean {
    return this.#coder.bit(this.#frameEnd, 0, ends ? 1 : 0) === 1;
  }

  number(name: 'copy' | 'literal' | 'count' | 'width' | 'drop' | 'stride', value: number): number {
    let model = this.#numbers.get(name);
    if (!model) {
      model = new NumberModel();
      this.#numbers.set(name, model);
    }
    return model.code(this.#coder, value);
  }

  /** A position in the old file, from where reading stopped. */
  position(expected: number, value: number): number {
    const distance = this.#distance.code(this.#coder, Math.abs(value - expected));
    if (distance === 0) return expected;
    const backwards = this.#coder.bit(this.#backwards, 0, value < expected ? 1 : 0);
    return backwards === 1 ? expected - distance : expected + distance;
  }
}

/** What lies before the first byte counts as zeros. */
const MAX_STRIDE = 8;
const PHASES = 4;

/** Literal bytes, each in the context of its place in an element of `stride` bytes and of the one a stride before. */
export class LiteralModel {
  readonly #coder: BinaryCoder;
  readonly #cells = adaptiveBits(PHASES * 256 * 256);
  readonly #before = new Uint8Array(MAX_STRIDE);
  #stride = 1;
  #at = 0;

  constructor(coder: BinaryCoder) {
    this.#coder = coder;
  }

  begin(stride: number): void {
    this.#stride = Math.min(MAX_STRIDE, Math.max(1, stride));
    this.#at = 0;
    this.#before.fill(0);
  }

  /** Codes `bytes`; reading, it fills them. */
  run(bytes: Uint8Array): void {
    const before = this.#before;
    for (let i = 0; i < bytes.length; i++) {
      const at = this.#at;
      const context = ((at & (PHASES - 1)) << 8) | before[at]!;
      const byte = tree(this.#coder, this.#cells, context << 8, 8, bytes[i]!);
      bytes[i] = byte;
      before[at] = byte;
      this.#at = at + 1 === this.#stride ? 0 : at + 1;
    }
  }
}
