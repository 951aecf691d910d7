import { placeDevices } from '@skein/fleet-server/rollouts/cohort.ts';
import { describe, expect, it } from 'vitest';
import { deviceNames } from './example.ts';

const sizes = (devices: number, stages: string[]): Record<string, number> => {
  const found: Record<string, number> = {};
  for (const { stage, control } of placeDevices('r-one', deviceNames(devices), stages)) {
    const name = control ? `control@${stage}` : String(stage);
    found[name] = (found[name] ?? 0) + 1;
  }
  return found;
};

describe('cohorts', () => {
  // biome-ignore format: the table is read by its columns
  it.each([
    [1,     ['1', '100%'],            { 0: 1 }],
    [2,     ['1', '100%'],            { 0: 1, 1: 1 }],
    [19,    ['1', '10%', '100%'],     { 0: 1, 1: 1, 2: 17 }],
    [20,    ['1', '10%', '100%'],     { 0: 1, 1: 1, 2: 17, 'control@3': 1 }],
    [1000,  ['1%', '10%', '100%'],    { 0: 10, 1: 90, 2: 850, 'control@3': 50 }],
    [1000,  ['1%', '10%'],            { 0: 10, 1: 90 }],
    [10,    ['25%', '50%', '100%'],   { 0: 3, 1: 2, 2: 5 }],
    [3,     ['5', '100%'],            { 0: 3 }],
    [100,   ['1', '2', '3'],          { 0: 1, 1: 1, 2: 1 }],
  ])('of %i devices in stages %j are %j', (devices, stages, expected) => {
    expect(sizes(devices, stages)).toEqual(expected);
  });

  it('are the same for a rollout whatever order the devices come in, and others for another', () => {
    const names = deviceNames(200);
    const places = placeDevices('r-one', names, ['1', '10%', '100%']);
    expect(placeDevices('r-one', names.toReversed(), ['1', '10%', '100%'])).toEqual(places);
    const others = placeDevices('r-two', names, ['1', '10%', '100%']);
    expect(others.map((p) => p.device)).not.toEqual(places.map((p) => p.device));
  });

  it('hold each device once', () => {
    const places = placeDevices('r-one', [...deviceNames(50), ...deviceNames(50)], ['10%', '100%']);
    expect(new Set(places.map((p) => p.device)).size).toBe(50);
    expect(places).toHaveLength(50);
  });

  it('send nobody first more often than chance does', () => {
    const names = deviceNames(10);
    const first = new Map<string, number>();
    for (let i = 0; i < 2_000; i++) {
      const device = placeDevices(`r-${i}`, names, ['1', '100%']).find((p) => p.stage === 0)!.device;
      first.set(device, (first.get(device) ?? 0) + 1);
    }
    for (const times of first.values()) expect(Math.abs(times - 200)).toBeLessThan(70);
  });
});
