/**
 * What V8 compiled of scripts, a file each: magic, CRC-32 of the source, CRC-32 of the rest, four bytes for V8, which reads
 * at multiples of eight, and what V8 gave. V8 itself looks only for its own version and flags and at the source's length;
 * it would run what a disk has changed.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const MAGIC = 0x53_4b_43_31;
const HEAD_BYTES = 16;

export interface KeptCode {
  /** Undefined when there is none, or another was kept, or it is damaged. @param crc CRC-32 of the script's source */
  of(name: string, crc: number): Buffer | undefined;
  /** Whole or not at all, though not yet on the disk: its checksum will tell. @throws when there is no room for it */
  write(name: string, compiled: Buffer, crc: number): void;
  /** Removes what is kept of scripts that are not among `names`: of another version. */
  retain(names: readonly string[]): void;
}

function opened(file: Buffer, crc: number): Buffer | undefined {
  if (file.length <= HEAD_BYTES || file.readUInt32LE(0) !== MAGIC) return undefined;
  const compiled = file.subarray(HEAD_BYTES);
  return file.readUInt32LE(4) === crc && file.readUInt32LE(8) === crc32(compiled) ? compiled : undefined;
}

function headOf(compiled: Buffer, crc: number): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt32LE(crc, 4);
  head.writeUInt32LE(crc32(compiled), 8);
  return head;
}

/** @param read gives what a file holds; what `of` answers is valid as long as that */
export const keptCode = (folder: string, read: (file: string) => Buffer): KeptCode => ({
  of(name, crc) {
    try {
      return opened(read(join(folder, name)), crc);
    } catch {
      return undefined;
    }
  },
  write(name, compiled, crc) {
    const file = join(folder, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${file}.new`, Buffer.concat([headOf(compiled, crc), compiled]));
    renameSync(`${file}.new`, file);
  },
  retain(names) {
    for (const file of readdirSync(folder))
      if (!names.includes(file)) rmSync(join(folder, file), { recursive: true, force: true });
  },
});
