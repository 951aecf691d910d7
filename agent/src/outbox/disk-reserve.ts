/** `<path>.reserve`: space that is given back when the disk is full, because then even DELETE fails. */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import type { Bytes } from '@skein/protocol/units.ts';

/** True when the reserved space is there. Real bytes, not zeros: some file systems keep no zeros. */
export function fillReserve(path: string, sizeBytes: Bytes, bytes: (length: number) => Uint8Array): boolean {
  const reserve = `${path}.reserve`;
  if (existsSync(reserve)) return true;
  try {
    writeFileSync(reserve, bytes(sizeBytes));
    return true;
  } catch {
    rmSync(reserve, { force: true });
    return false;
  }
}

/** Gives the reserved space back to the disk; false when there was none. */
export function releaseReserve(path: string): boolean {
  if (!existsSync(`${path}.reserve`)) return false;
  rmSync(`${path}.reserve`, { force: true });
  return true;
}
