/**
 * What this machine is: board, processors, memory, system and the tags a model may ask for. The kernel's own files say
 * it at once. Only where they are silent is systeminformation asked, and never while the agent waits for its first
 * reading: it runs programs, 300 ms of them.
 */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { HelloMessage } from '@skein/protocol/messages.ts';
import type { Millis } from '@skein/protocol/units.ts';

type Hardware = HelloMessage['hardware'];

const LONGEST_MS: Millis = 3_000;
const UNKNOWN = 'unknown';

/** Device tree strings end with a zero byte. Undefined where there is no such file, or nothing in it. */
function textOf(root: string, path: string): string | undefined {
  try {
    return readFileSync(join(root, path), 'utf8').replaceAll('\0', '').trim() || undefined;
  } catch {
    return undefined;
  }
}

/** The device tree's name on ARM boards, else the maker's and the product's name of the firmware (SMBIOS). */
function boardOf(root: string): string {
  const maker = textOf(root, 'sys/class/dmi/id/sys_vendor');
  const product = textOf(root, 'sys/class/dmi/id/product_name');
  const named = [maker, product].filter(Boolean).join(' ');
  return ((textOf(root, 'proc/device-tree/model') ?? named) || UNKNOWN).slice(0, 128);
}

/** os-release(5). */
function systemOf(root: string): string {
  const file = textOf(root, 'etc/os-release') ?? textOf(root, 'usr/lib/os-release') ?? '';
  const name = /^PRETTY_NAME=["']?(.*?)["']?$/m.exec(file)?.[1];
  return (name || `Linux ${release()}`).slice(0, 128);
}

/** Tags that every machine has: its architecture and, for known boards, their family. */
function ownTags(model: string): string[] {
  const families: [RegExp, string][] = [
    [/raspberry pi/i, 'raspberry-pi'],
    [/jetson|tegra/i, 'jetson'],
  ];
  return [arch(), ...families.filter(([pattern]) => pattern.test(model)).map(([, tag]) => tag)];
}

/** @param tags configured ones, added to its own. */
export function readInventory(tags: readonly string[], root = '/'): Hardware {
  const model = boardOf(root);
  return {
    model,
    arch: arch(),
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    os: systemOf(root),
    tags: [...new Set([...ownTags(model), ...tags])].slice(0, 32),
  };
}

/** A machine where a program hangs stays without a name. */
const within = <T>(promise: Promise<T>): Promise<T | undefined> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, LONGEST_MS, undefined);
    promise.then(resolve, () => resolve(undefined)).finally(() => clearTimeout(timer));
  });

/** @returns the board's name when the kernel gave none and a program knows it; tags never change by it. */
export async function nameBoard(known: Hardware): Promise<Hardware> {
  if (known.model !== UNKNOWN) return known;
  const { system } = (await import('systeminformation')).default;
  const board = await within(system());
  const named = [board?.manufacturer, board?.model].filter(Boolean).join(' ');
  return { ...known, model: (named || UNKNOWN).slice(0, 128) };
}
