/** What this machine is, asked once at boot: board, processors, memory, system and the tags a model may ask for. */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { HelloMessage } from '@skein/protocol/messages.ts';
import type { Millis } from '@skein/protocol/units.ts';

const LONGEST_MS: Millis = 3_000;

/** Boards with a device tree say their name there, terminated by a zero byte. */
function deviceTreeModel(root: string): string | undefined {
  try {
    return readFileSync(join(root, 'proc/device-tree/model'), 'utf8').replaceAll('\0', '').trim();
  } catch {
    return undefined;
  }
}

/** systeminformation runs programs; a machine where one hangs is described by what the kernel says. */
const within = <T>(promise: Promise<T>): Promise<T | undefined> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, LONGEST_MS, undefined);
    promise.then(resolve, () => resolve(undefined)).finally(() => clearTimeout(timer));
  });

/** Tags that every machine has: its architecture and, for known boards, their family. */
function ownTags(model: string): string[] {
  const families: [RegExp, string][] = [
    [/raspberry pi/i, 'raspberry-pi'],
    [/jetson|tegra/i, 'jetson'],
  ];
  return [arch(), ...families.filter(([pattern]) => pattern.test(model)).map(([, tag]) => tag)];
}

/** @param tags configured ones, added to its own. */
export async function readInventory(tags: string[], root = '/'): Promise<HelloMessage['hardware']> {
  const { osInfo, system } = (await import('systeminformation')).default;
  const [board, os] = await Promise.all([within(system()), within(osInfo())]);
  const named = [board?.manufacturer, board?.model].filter(Boolean).join(' ');
  const model = (deviceTreeModel(root) ?? named) || 'unknown';
  return {
    model: model.slice(0, 128),
    arch: arch(),
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    os: (os ? `${os.distro} ${os.release}` : `Linux ${release()}`).slice(0, 128),
    tags: [...new Set([...ownTags(model), ...tags])].slice(0, 32),
  };
}
