/**
 * Several tensors in one buffer that two threads see. Offsets are multiples of 16 bytes, so every typed array is aligned.
 * The views are made once: while names, types and shapes stay the same, a request costs its copy and nothing else.
 */
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Tensor, Tensors } from './backend.ts';
import { elementBytes, viewOf } from './tensors.ts';

interface Slot {
  name: string;
  type: TensorSpec['type'];
  dims: readonly number[];
  offset: Bytes;
  length: number;
}

/** As it travels between threads. */
export interface Region {
  slots: readonly Slot[];
  buffer: SharedArrayBuffer;
}

function slotsOf(tensors: Tensors): { slots: Slot[]; bytes: Bytes } {
  let bytes = 0;
  const slots = Object.entries(tensors).map(([name, { type, dims, data }]) => {
    const offset = bytes;
    bytes += Math.ceil((data.length * elementBytes(type)) / 16) * 16;
    return { name, type, dims: [...dims], offset, length: data.length };
  });
  return { slots, bytes };
}

export class SharedTensors {
  readonly region: Region;
  /** They change with the next {@link write}. */
  readonly views: Tensors;

  constructor(region: Region) {
    this.region = region;
    this.views = Object.fromEntries(
      region.slots.map(({ name, type, dims, offset, length }) => {
        const data = viewOf(type, region.buffer, offset, length);
        return [name, { type, dims, data }];
      }),
    );
  }

  /** Room for `tensors`, in the memory of `before` where it is large enough. */
  static roomFor(tensors: Tensors, before?: SharedTensors): SharedTensors {
    const { slots, bytes } = slotsOf(tensors);
    const old = before?.region.buffer;
    return new SharedTensors({
      slots,
      buffer: old && old.byteLength >= bytes ? old : new SharedArrayBuffer(bytes),
    });
  }

  /** Same names, types and shapes in the same order: the other side already knows where everything lies. */
  fits(tensors: Tensors): boolean {
    const { slots } = this.region;
    let i = 0;
    for (const name in tensors) {
      const slot = slots[i++];
      const { type, dims, data } = tensors[name]!;
      if (!slot || slot.name !== name || slot.type !== type || slot.length !== data.length) return false;
      if (slot.dims.length !== dims.length) return false;
      for (let axis = 0; axis < dims.length; axis++) if (slot.dims[axis] !== dims[axis]) return false;
    }
    return i === slots.length;
  }

  /** @param tensors that {@link fits} */
  write(tensors: Tensors): void {
    for (const name in this.views)
      (this.views[name]!.data as Float32Array).set(tensors[name]!.data as Float32Array);
  }

  /** In memory of its own: a slice of shared memory is not shared. */
  copy(): Tensors {
    const copies: Record<string, Tensor> = {};
    for (const name in this.views) {
      const { type, dims, data } = this.views[name]!;
      copies[name] = { type, dims, data: data.slice() };
    }
    return copies;
  }
}
