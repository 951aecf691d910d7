/** One line about a device: the first thing that stands in the way of its being up to date and well. */
import type { DeviceView } from '@skein/protocol/api.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { WARNINGS } from '@skein/protocol/warnings.ts';
import { ago } from './table.ts';

export function whyDevice(device: DeviceView, rollouts: readonly RolloutView[], now: number): string {
  const { id, lastSeen } = device;
  if (device.revoked) return `${id} is revoked: it must be enrolled anew to come back`;
  if (lastSeen === null) return `${id} is enrolled but has never connected: is its agent running?`;
  if (!device.online)
    return `${id} is offline, last seen ${ago(lastSeen, now)}: it gets its orders when it returns`;
  const waiting = rollouts.flatMap((rollout) =>
    rollout.targets
      .filter((t) => t.device === id && t.state !== 'committed')
      .map((target) => ({ rollout, target })),
  )[0];
  if (waiting) {
    const { rollout, target } = waiting;
    const reason = target.reason ? ` (${target.reason})` : '';
    const wants = `${rollout.spec.model}@${rollout.spec.version}`;
    return `${id} is ${target.state}${reason} in rollout ${rollout.id} to ${wants}, stage ${target.stage + 1}; ${rollout.why}`;
  }
  const open = device.incidents.find((incident) => incident.end_time === null);
  if (open)
    return `${id} runs ${device.model ?? 'no model'}, but: ${WARNINGS[open.code].text} ${open.detail ?? ''}`.trim();
  return `${id} runs ${device.model ?? 'no model'} and waits for nothing`;
}
