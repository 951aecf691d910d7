import { createPacketLimit } from '@skein/fleet-server/broker/packet-limit.ts';
import { describe, expect, it } from 'vitest';

/** A PUBLISH-like packet: header byte, remaining length, body. */
function packet(size: number): Buffer {
  const length: number[] = [];
  let rest = size;
  do {
    length.push((rest & 0x7f) | (rest > 127 ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.of(0x30, ...length), Buffer.alloc(size, 0xff)]);
}

/** mulberry32 */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

describe('the packet limit', () => {
  it('lets packets up to the bound through and refuses the first beyond it', () => {
    for (const size of [0, 1, 127, 128, 1000]) expect(createPacketLimit(1000)(packet(size))).toBe(true);
    expect(createPacketLimit(1000)(packet(1001))).toBe(false);
    expect(createPacketLimit(200_000_000)(packet(20_000))).toBe(true);
  });

  it('refuses on the header alone, before the body has come', () => {
    expect(createPacketLimit(1000)(Buffer.of(0x30, 0xff, 0xff, 0xff, 0x7f))).toBe(false);
  });

  it('refuses a length of more than four bytes', () => {
    expect(createPacketLimit(1 << 30)(Buffer.of(0x30, 0x80, 0x80, 0x80, 0x80))).toBe(false);
  });

  it('counts right however the stream is cut into chunks', () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const next = random(seed);
    const sizes = Array.from({ length: 60 }, () => Math.floor(next() * 500));
    const stream = Buffer.concat(sizes.map(packet));
    for (let round = 0; round < 50; round += 1) {
      const within = createPacketLimit(500);
      for (let at = 0; at < stream.length; ) {
        const end = at + 1 + Math.floor(next() * 200);
        expect(within(stream.subarray(at, end)), `seed ${seed}`).toBe(true);
        at = end;
      }
      expect(within(packet(501)), `seed ${seed}`).toBe(false);
    }
  });
});
