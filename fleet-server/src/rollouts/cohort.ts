/**
 * Who gets a rollout when. Deterministic: devices are sorted by sha256(`<rollout> <device>`), so the same rollout
 * always has the same cohorts, another rollout has others, and nobody chooses who goes first.
 * Stages are cumulative. From 20 devices up max(1, 5%) are kept back as the control cohort; a rollout whose last
 * stage is everybody releases them as a stage of their own after it. Below 20 each device's own previous model is
 * its control.
 */
import { sha256Hex } from '@skein/protocol/sha256.ts';

export const CONTROL_FROM = 20;
const CONTROL_SHARE = 0.05;

export interface Place {
  device: string;
  stage: number;
  control: boolean;
}

const encoder = new TextEncoder();

export function placeDevices(
  rollout: string,
  devices: readonly string[],
  stages: readonly string[],
): Place[] {
  const order = ranked(rollout, devices);
  const controls = order.length >= CONTROL_FROM ? Math.max(1, Math.round(order.length * CONTROL_SHARE)) : 0;
  const treated = order.slice(0, order.length - controls);
  const ends = stages.map((stage) => Math.min(treated.length, cumulative(stage, order.length)));
  const places = treated.flatMap((device, index) => {
    const stage = ends.findIndex((end) => index < end);
    return stage < 0 ? [] : [{ device, stage, control: false }];
  });
  if (places.length < treated.length) return places;
  const kept = order.slice(treated.length);
  return [...places, ...kept.map((device) => ({ device, stage: stages.length, control: true }))];
}

/** How many devices a stage reaches, of `total`: `10%` rounds up, `100%` is all, `3` is three. */
function cumulative(stage: string, total: number): number {
  const value = Number.parseInt(stage, 10);
  return stage.endsWith('%') ? Math.ceil((total * value) / 100) : value;
}

function ranked(rollout: string, devices: readonly string[]): string[] {
  const keyed = [...new Set(devices)].map((device) => {
    return { device, key: sha256Hex(encoder.encode(`${rollout} ${device}`)) };
  });
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ device }) => device);
}
