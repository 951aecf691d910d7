/**
 * Runs arm64 programs on another machine: qemu-user with the C library of Debian's cross packages. ONNX Runtime asks
 * the kernel which ARM core it is on, so a mount namespace of our own shows it an ARM-looking /proc/cpuinfo.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOnPath } from '../../scripts/apt-tools.ts';
import { type Ran, runProgram } from './unpacked.ts';

const LIBRARIES = '/usr/aarch64-linux-gnu';

/** A Cortex-A72, as in a Raspberry Pi 4. */
const CPUINFO = `processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
`;

/** Without root a user namespace gives the right to mount. */
const namespace = (): string[] => (process.getuid?.() === 0 ? ['--mount'] : ['--mount', '--map-root-user']);

/** Why arm64 programs can not be run here, with the way to change it; undefined when they can. */
export function whyNot(): string | undefined {
  if (process.arch === 'arm64') return undefined;
  if (!isOnPath('qemu-aarch64-static')) return 'apt-get install qemu-user-static';
  if (!existsSync(join(LIBRARIES, 'lib', 'libstdc++.so.6'))) return 'apt-get install libstdc++6-arm64-cross';
  const { status } = spawnSync('unshare', [...namespace(), 'true']);
  return status === 0 ? undefined : 'mount namespaces are not allowed here: run as root';
}

/** @param folder where the made-up /proc/cpuinfo is kept */
export function runOnArm64(folder: string, file: string, args: string[]): Ran {
  if (process.arch === 'arm64') return runProgram(file, args);
  const cpuinfo = join(folder, 'cpuinfo');
  writeFileSync(cpuinfo, CPUINFO);
  const script = 'mount --bind "$1" /proc/cpuinfo && shift && exec "$@"';
  const emulated = ['env', 'QEMU_CPU=cortex-a72', 'qemu-aarch64-static', '-L', LIBRARIES, file, ...args];
  return runProgram('unshare', [...namespace(), 'sh', '-c', script, 'sh', cpuinfo, ...emulated]);
}
