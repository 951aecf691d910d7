/**
 * Applies a patch in a process of its own and prints what that took: `node --expose-gc apply-child.ts OLD PATCH NEW`.
 * Idle is this process with all its modules, swept, before it begins; the peak is the kernel's own high-water mark.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { patchFile } from '@skein/agent/model/disk-patch.ts';

const [old, patch, now] = process.argv.slice(2) as [string, string, string];

const kilobytes = (field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))![1]);
const sweep = (globalThis as { gc?: () => void }).gc!;

export interface Applied {
  newBytes: number;
  seconds: number;
  /** User and system time of all threads. */
  cpuSeconds: number;
  idleBytes: number;
  peakBytes: number;
}

sweep();
const idle = kilobytes('VmRSS');
// Resets the high-water mark (proc(5), clear_refs).
writeFileSync('/proc/self/clear_refs', '5');
const started = performance.now();
const before = process.cpuUsage();
const { newBytes } = await patchFile({ old, patch, now }, Number.MAX_SAFE_INTEGER, () => {});
const { user, system } = process.cpuUsage(before);
const applied: Applied = {
  newBytes,
  seconds: (performance.now() - started) / 1000,
  cpuSeconds: (user + system) / 1e6,
  idleBytes: idle * 1024,
  peakBytes: kilobytes('VmHWM') * 1024,
};
process.stdout.write(JSON.stringify(applied));
