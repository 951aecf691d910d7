/** Pictures made on the spot. */
import { crc32 } from 'node:zlib';
import type { Pixels } from '@skein/agent/pipeline/pixels.ts';

/** Waves and a linear congruential noise; the golden file was made from the same formula. */
export function syntheticPicture(width: number, height: number): Pixels {
  const data = new Uint8Array(width * height * 3);
  let noise = 12_345;
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        noise = Number((BigInt(noise) * 1_103_515_245n + 12_345n) & 0x7fff_ffffn);
        data[at++] = x * (7 + c * 3) + y * (5 + c * 11) + ((noise >> 16) & 63);
      }
    }
  }
  return { width, height, channels: 3, data };
}

function chunkOf(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

/** An 8-bit RGB PNG whose compressed rows are given. */
export function pngOf({
  width,
  height,
  rows,
}: {
  width: number;
  height: number;
  rows: Uint8Array;
}): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const chunks = [chunkOf('IHDR', header), chunkOf('IDAT', rows), chunkOf('IEND', Buffer.alloc(0))];
  return new Uint8Array(Buffer.concat([signature, ...chunks]));
}
