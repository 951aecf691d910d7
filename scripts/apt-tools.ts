/** The Debian programs that some test tiers use: present, installed when this is a root Debian, or said to be missing. */
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Program on the PATH, or a file by its whole path → package that brings it and what is skipped without it. */
const TOOLS = [
  { program: 'mosquitto', pkg: 'mosquitto', skips: 'tests against an external broker' },
  { program: 'mosquitto_sub', pkg: 'mosquitto-clients', skips: 'the check that people can read the topics' },
  { program: 'strace', pkg: 'strace', skips: 'kills at every call that writes' },
  { program: 'faketime', pkg: 'faketime', skips: 'clocks that are wrong or step' },
  { program: 'nft', pkg: 'nftables', skips: 'links that the kernel spoils' },
  { program: 'ffmpeg', pkg: 'ffmpeg', skips: 'frames of a real camera program' },
  { program: 'chromium', pkg: 'chromium', skips: 'the browser tier' },
  { program: 'qemu-aarch64-static', pkg: 'qemu-user-static', skips: 'the arm64 tier' },
  {
    program: '/usr/aarch64-linux-gnu/lib/libstdc++.so.6',
    pkg: 'libstdc++6-arm64-cross',
    skips: 'the arm64 tier',
  },
  {
    program: '/usr/lib/python3/dist-packages/onnx/checker.py',
    pkg: 'python3-onnx',
    skips: "the check of written models by ONNX's own checker",
  },
  {
    program: 'aarch64-linux-gnu-strip',
    pkg: 'binutils-aarch64-linux-gnu',
    skips: 'the size limit of the arm64 package',
  },
] as const;

export function isOnPath(program: string): boolean {
  if (program.startsWith('/')) return existsSync(program);
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const missing = () => TOOLS.filter((tool) => !isOnPath(tool.program));
const canInstall = (): boolean => process.getuid?.() === 0 && isOnPath('apt-get');

async function install(packages: string[]): Promise<void> {
  // RUNLEVEL=1 keeps the packages' services from starting.
  const env = { ...process.env, RUNLEVEL: '1', DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, timeout: 300_000, maxBuffer: 64 << 20 };
  await execute('apt-get', ['update', '-qq'], options);
  await execute('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], options);
}

/** Installs what it can and returns one line for each tool that stays missing. */
export async function ensureTools(): Promise<string[]> {
  const wanted = missing().map((tool) => tool.pkg);
  if (wanted.length && canInstall()) {
    process.stdout.write(`Installing for the tests: ${wanted.join(' ')}…\n`);
    await install(wanted).catch((error: Error) =>
      process.stdout.write(`apt-get: ${error.message.split('\n')[0]}\n`),
    );
  }
  return missing().map(
    (tool) => `Skipping ${tool.skips}: \`${tool.program}\` is missing. → apt-get install ${tool.pkg}`,
  );
}
