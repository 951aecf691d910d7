import { BinaryCoder } from '@skein/protocol/delta/binary-coder.ts';
import { KIND } from '@skein/protocol/delta/elements.ts';
import {
  COPY,
  END,
  type Header,
  MAX_SIZE,
  mostOperations,
  VALUES,
  writeHeader,
  writeVarint,
} from '@skein/protocol/delta/format.ts';
import { OperationModels } from '@skein/protocol/delta/operations.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { LONG, mutations } from '../../mutations.ts';
import { apply, patchOf, sha256, tuned, twoLayers } from './pairs.ts';

const first = tuned(32 * 32, 0.01, 1);
const last = tuned(32 * 8, 0.01, 2);
const old = twoLayers(first.was, last.was);
const now = twoLayers(first.now, last.now, 'new');
const patch = patchOf(old, now);

const refused = (code: string) => expect.objectContaining({ code });
const header = (change: Partial<Header> = {}): Uint8Array =>
  writeHeader({
    form: 'delta',
    oldSize: old.length,
    newSize: now.length,
    oldHash: sha256(old),
    newHash: sha256(now),
    ...change,
  });

/** The error's code, or what was made. */
const outcome = (bytes: Uint8Array): Promise<Buffer | string> =>
  apply(old, bytes).catch((error: { code?: string; message: string }) => error.code ?? error.message);

const differing = (a: Uint8Array, b: Uint8Array): number[] => [...a.keys()].filter((at) => a[at] !== b[at]);

describe('a patch that lies', () => {
  it('is refused against any other file than its own', async () => {
    const other = Uint8Array.from(old);
    other[100]! ^= 1;
    await expect(apply(other, patch)).rejects.toThrow(refused('PATCH_WRONG_BASE'));
    await expect(apply(old.subarray(1), patch)).rejects.toThrow(refused('PATCH_WRONG_BASE'));
    await expect(apply(new Uint8Array(0), patch)).rejects.toThrow(refused('PATCH_WRONG_BASE'));
  });

  it('is refused before anything is made when the size is not the signed one or too large', async () => {
    await expect(apply(old, patch, { newSize: now.length - 1 })).rejects.toThrow(refused('PATCH_INVALID'));
    await expect(apply(old, patch, { maxBytes: now.length - 1 })).rejects.toThrow(refused('PATCH_INVALID'));
    for (const newSize of [MAX_SIZE + 1, 2 ** 34])
      await expect(apply(old, header({ newSize }))).rejects.toThrow(refused('PATCH_INVALID'));
  });

  it('is refused at every length but its own, and with anything behind it', async () => {
    for (let length = 0; length < patch.length; length += length < 200 ? 1 : 13)
      expect(await outcome(patch.subarray(0, length)), `${length} bytes`).toBe('PATCH_INVALID');
    expect(await outcome(Buffer.concat([patch, Buffer.of(0)]))).toBe('PATCH_INVALID');
    const whole = Buffer.concat([header({ form: 'whole' }), now]);
    expect(Buffer.compare((await outcome(whole)) as Buffer, now)).toBe(0);
    expect(await outcome(whole.subarray(0, -1))).toBe('PATCH_INVALID');
    expect(await outcome(Buffer.concat([whole, Buffer.of(0)]))).toBe('PATCH_INVALID');
  });

  it('never makes the right file of a changed byte, nor more than it promised, nor an unknown error', async () => {
    const hashes = 4 + 2 + 2 + 8;
    for (let at = 0; at < patch.length; at += at < 300 ? 1 : 7) {
      if (at >= hashes && at < hashes + 16) continue; // the result's hash itself: whoever applies compares it
      const changed = Buffer.from(patch);
      changed[at]! ^= 1 << (at % 8);
      const made = await outcome(changed);
      if (typeof made === 'string') expect(made, `byte ${at}`).toMatch(/^PATCH_/);
      else expect(made.length === now.length && !made.equals(now), `byte ${at}`).toBe(true);
    }
  });

  it('is refused with any part of it changed, or makes something else than the signed file, and no more of it', async () => {
    const before = Uint8Array.from(patch);
    for (const { what, bytes } of mutations(patch, 30)) {
      const made = await outcome(bytes);
      if (typeof made === 'string') expect(made, what).toMatch(/^PATCH_/);
      else expect(made.length, what).toBe(now.length);
      // The one place that says what is made, and is held against what was made by whoever applies it.
      if (typeof made !== 'string' && made.equals(now)) {
        expect(bytes.length, what).toBe(patch.length);
        expect(
          differing(bytes, patch).every((at) => at >= 16 && at < 32),
          what,
        ).toBe(true);
      }
    }
    expect(differing(patch, before), 'the patch itself stays as it was').toEqual([]);
  }, 3_600_000);

  it('between files that are no ONNX any more still makes exactly the new one', async () => {
    for (const { what, bytes } of mutations(old, LONG ? 300 : 2, false)) {
      expect((await apply(bytes, patchOf(bytes, now))).equals(now), what).toBe(true);
      expect((await apply(old, patchOf(old, bytes))).equals(bytes), what).toBe(true);
    }
  }, 3_600_000);

  it('takes neither memory nor time for sizes that only it claims', async () => {
    const frames = (...numbers: number[]): Uint8Array => {
      const bytes: number[] = [];
      for (const number of numbers) writeVarint(number, bytes);
      return Buffer.concat([header({ newSize: MAX_SIZE }), Uint8Array.from(bytes)]);
    };
    const claims = [
      frames(2 ** 31, 0),
      frames(0, 2 ** 31),
      frames(2 ** 34, 2 ** 34),
      frames(2 ** 20, 0),
      frames(0, 0),
    ];
    for (const claim of claims) expect(await outcome(claim)).toBe('PATCH_INVALID');
    const endless = Buffer.concat([header(), Buffer.alloc(100, 0xff)]);
    expect(await outcome(endless)).toBe('PATCH_INVALID');
  });

  it('may not consist of more operations, nor of wider rows, than a file needs', async () => {
    const made = (
      write: (coder: BinaryCoder, operations: OperationModels) => void,
    ): Promise<Buffer | string> => {
      const coder = new BinaryCoder(true);
      write(coder, new OperationModels(coder));
      const { coded, raw } = coder.close();
      const sizes: number[] = [];
      writeVarint(coded.length, sizes);
      writeVarint(raw.length, sizes);
      return outcome(Buffer.concat([header(), Uint8Array.from(sizes), coded, raw]));
    };
    const copies = (count: number) => (_: BinaryCoder, operations: OperationModels) => {
      for (let i = 0; i < count; i++) {
        operations.operation(COPY);
        operations.number('copy', 1);
        operations.position(i, i);
        operations.frameEnd(false);
      }
      operations.operation(END);
    };
    expect(await made(copies(mostOperations(now.length) + 2))).toBe('PATCH_INVALID');
    const wide = await made((_, operations) => {
      operations.operation(VALUES + KIND.i8);
      operations.number('count', 10);
      operations.number('width', 11);
    });
    expect(wide).toBe('PATCH_INVALID');
  });

  it('is refused, or makes at most what it promised, whatever stands in its frames', async () => {
    for (let seed = 1; seed <= 300; seed++) {
      const uniform = seededUniform(seed);
      const body = Uint8Array.from({ length: 200 }, () => Math.floor(uniform() * 256));
      const sizes: number[] = [];
      writeVarint(150, sizes);
      writeVarint(50, sizes);
      const made = await outcome(Buffer.concat([header(), Uint8Array.from(sizes), body]));
      expect(made, `seed ${seed}`).toMatch(/^PATCH_INVALID$/);
    }
  });

  it('is told from other files, and from a later version', async () => {
    await expect(apply(old, old)).rejects.toThrow(/no patch/);
    const later = Buffer.from(patch);
    later[3] = 0x21;
    await expect(apply(old, later)).rejects.toThrow(/another version/);
  });
});
