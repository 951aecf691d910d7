/** Which devices the table shows, and in which order: whoever needs a person comes first. Pure. */
import type { DeviceSummary } from '@skein/protocol/api.ts';

export const FILTERS = ['online', 'offline', 'warnings', 'drift'] as const;
export type Filter = (typeof FILTERS)[number];

const MATCHES: Record<Filter, (device: DeviceSummary) => boolean> = {
  online: (device) => device.online && !device.revoked,
  offline: (device) => !device.online && !device.revoked,
  warnings: (device) => device.warnings > 0,
  drift: (device) => device.drift === 'drift',
};

export const countOf = (devices: readonly DeviceSummary[], filter: Filter): number =>
  devices.filter(MATCHES[filter]).length;

const attention = (device: DeviceSummary): number => {
  if (device.revoked) return -1;
  return (device.warnings > 0 ? 4 : 0) + (device.drift === 'drift' ? 2 : 0) + (device.online ? 0 : 1);
};

const nameOf = (device: DeviceSummary): string => device.name || device.id;

export function selectDevices(
  devices: readonly DeviceSummary[],
  filter: Filter | undefined,
  words: string,
): DeviceSummary[] {
  const wanted = words.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const text = (d: DeviceSummary) => [d.id, d.name, d.model ?? '', ...d.groups].join(' ').toLowerCase();
  return devices
    .filter((device) => !filter || MATCHES[filter](device))
    .filter((device) => wanted.every((word) => text(device).includes(word)))
    .sort(
      (a, b) => attention(b) - attention(a) || nameOf(a).localeCompare(nameOf(b), 'en', { numeric: true }),
    );
}
