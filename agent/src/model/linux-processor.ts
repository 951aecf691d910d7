/** What this processor has for int8 sums, as the kernel lists it. */
import { readFileSync } from 'node:fs';

export interface Processor {
  arch: string;
  /** `avx512_vnni`, `avx_vnni`, `asimddp`, `i8mm` …; empty when there is none or it is not known. */
  int8: string[];
}

const DOT_PRODUCTS = ['avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp', 'i8mm'];

/** @param path injectable for tests */
export function readProcessor(path = '/proc/cpuinfo', arch: string = process.arch): Processor {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // Not Linux, or hidden: nothing is known.
  }
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? []);
  return { arch, int8: DOT_PRODUCTS.filter((flag) => flags.has(flag)) };
}

/** What people must know who read a latency measured here; undefined where int8 is at home. */
export function int8Warning({ arch, int8 }: Processor): string | undefined {
  if (int8.length > 0) return undefined;
  return arch === 'x64'
    ? 'this processor has no VNNI: int8 is slower here than where it has, and sums may saturate without --reduce-range'
    : 'this processor has no int8 dot product: int8 is slower here than where it has';
}
