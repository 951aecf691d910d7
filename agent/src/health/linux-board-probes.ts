/**
 * What single boards tell beyond plain Linux. Each probe reads documented files and gives nothing where they are absent.
 *
 * Raspberry Pi: `/sys/devices/platform/soc/soc:firmware/get_throttled`, a hexadecimal mask (bit 0 under-voltage,
 * 1 frequency capped, 2 throttled, 3 soft temperature limit; bits 16…19 the same since boot), and the `rpi_volt`
 * hwmon's `in0_lcrit_alarm`.
 * Jetson: `/sys/devices/gpu.0/load` or `/sys/devices/platform/gpu.0/load` in thousandths, and the first channel of the
 * INA3221 (`in1_input` mV, `curr1_input` mA), which is the module's input.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Metrics } from './probe.ts';

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
};

/** Directories of the hwmon devices with this name. */
function hwmons(root: string, name: string): string[] {
  const base = join(root, 'sys/class/hwmon');
  try {
    return readdirSync(base)
      .map((entry) => join(base, entry))
      .filter((path) => read(join(path, 'name')) === name);
  } catch {
    return [];
  }
}

const UNDERVOLTAGE = 1 << 0;
const SLOWED = (1 << 1) | (1 << 2) | (1 << 3);

export function raspberryPi(root: string): Metrics {
  const mask = read(join(root, 'sys/devices/platform/soc/soc:firmware/get_throttled'));
  if (mask !== undefined && /^(0x)?[0-9a-f]+$/i.test(mask)) {
    const bits = Number.parseInt(mask, 16);
    return { undervoltage: bits & UNDERVOLTAGE ? 1 : 0, throttled: bits & SLOWED ? 1 : 0 };
  }
  const alarms = hwmons(root, 'rpi_volt').map((path) => read(join(path, 'in0_lcrit_alarm')));
  return alarms.length > 0 ? { undervoltage: alarms.includes('1') ? 1 : 0 } : {};
}

export function jetson(root: string): Metrics {
  const load = ['sys/devices/gpu.0/load', 'sys/devices/platform/gpu.0/load']
    .map((path) => read(join(root, path)))
    .find((text) => text !== undefined);
  const [monitor] = hwmons(root, 'ina3221');
  const volts = Number(monitor && read(join(monitor, 'in1_input')));
  const amperes = Number(monitor && read(join(monitor, 'curr1_input')));
  return {
    ...(load === undefined ? {} : { gpu: Number(load) / 1000 }),
    ...(volts > 0 && amperes >= 0 ? { power_w: (volts * amperes) / 1e6 } : {}),
  };
}

export const readBoard = (root: string): Metrics => ({ ...raspberryPi(root), ...jetson(root) });
