/** The sizes that a small device is promised, and how a package stands against them. */
import type { BuiltPackage } from './build-package.ts';

const MB = 1_000_000;

/** Bytes at most. The promise is made for arm64; amd64's ONNX Runtime alone is 20 MB larger. */
const BUDGETS = { installed: 140 * MB, package: 36 * MB } as const;

export interface SizeLine {
  what: 'installed' | 'package';
  bytes: number;
  /** null: no promise for this architecture, or not for this compression. */
  limit: number | null;
  holds: boolean | null;
}

export function sizesOf(built: BuiltPackage): SizeLine[] {
  const line = (what: SizeLine['what'], bytes: number): SizeLine => {
    const promised = built.arch.deb === 'arm64' && (what === 'installed' || built.compression === 'small');
    const limit = promised ? BUDGETS[what] : null;
    return { what, bytes, limit, holds: limit === null ? null : bytes <= limit };
  };
  return [line('installed', built.installedBytes), line('package', built.packageBytes)];
}

/** `arm64 installed 135.2 MB ≤ 140 MB yes` */
export function describeSize(arch: string, { what, bytes, limit, holds }: SizeLine): string {
  const size = `${(bytes / MB).toFixed(1).padStart(6)} MB`;
  const bar = limit === null ? 'no limit' : `≤ ${limit / MB} MB  ${holds ? 'yes' : 'NO'}`;
  return `  ${arch.padEnd(6)} ${what.padEnd(10)} ${size}   ${bar}`;
}
