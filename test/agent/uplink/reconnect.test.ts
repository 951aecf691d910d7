import { describe, expect, it } from 'vitest';
import { CONTESTED, RECONNECT, Reconnect, UNCONTESTED_MS } from '../../../agent/src/uplink/reconnect.ts';
import { seeded } from '../../protocol/batch/random.ts';

const SEED = 7;
const entropyOf = (random: () => number) => ({
  bytes: (n: number) => Uint8Array.from({ length: n }, () => random() * 256),
});
const reconnect = (seed = SEED) => new Reconnect(RECONNECT.lan, entropyOf(seeded(seed)));
/** The longest of the next waits, each after a connection that lasted so long. */
const ceiling = (subject: Reconnect, lastedMs?: number) =>
  Math.max(...Array.from({ length: 200 }, () => subject.waitMs(lastedMs)));

interface Fleet {
  /** Tries in each second. */
  tries: number[];
  /** Seconds from the broker's return until the last device was connected. */
  backAfter: number;
}

/** 5,000 devices lose a broker that takes 400 handshakes a second, for so long; each gives up a try after 15 s. */
const TAKEN_PER_SECOND = 400;
const GIVEN_UP_AFTER = 15;

function outage(seconds: number): Fleet {
  const devices = Array.from({ length: 5_000 }, (_, i) => reconnect(i + 1));
  const due = devices.map((device, i) => ({ device, i, at: device.waitMs(3_600_000) / 1000 }));
  const tries: number[] = Array(3_600).fill(0);
  const waiting: { at: number; device: Reconnect }[][] = Array.from({ length: 3_600 }, () => []);
  const plan = (at: number, device: Reconnect) => waiting[Math.floor(at)]!.push({ at, device });
  for (const { at, device } of due) plan(at, device);
  const queue: { at: number; device: Reconnect }[] = [];
  let left = devices.length;
  for (let second = 0; left > 0; second++) {
    const now = waiting[second]!;
    for (let i = 0; i < now.length; i++) {
      const { at, device } = now[i]!;
      tries[second]!++;
      if (second >= seconds) queue.push({ at, device });
      else plan(at + device.waitMs() / 1000, device);
    }
    // One core: first come, first served; whoever waited too long has gone and its handshake was for nothing.
    for (const { at, device } of queue.splice(0, TAKEN_PER_SECOND)) {
      if (second - at <= GIVEN_UP_AFTER) left--;
      else plan(Math.max(second + 1, at + GIVEN_UP_AFTER + device.waitMs() / 1000), device);
    }
    if (left === 0) return { tries, backAfter: second - seconds };
  }
  throw new Error('nobody to come back');
}

describe('reconnecting', () => {
  it('waits up to one second, doubles to five minutes, and begins anew after a connection that lasted', () => {
    expect(reconnect().waitMs()).toBeLessThanOrEqual(1_000);
    const subject = reconnect();
    const longest = ceiling(subject);
    expect(longest).toBeGreaterThan(290_000);
    expect(longest).toBeLessThanOrEqual(300_000);
    expect(subject.waitMs(3_600_000)).toBeLessThanOrEqual(1_000);
  });

  it('is not set back by connections that broke within the wait before them', () => {
    const subject = reconnect();
    ceiling(subject);
    expect(ceiling(subject, 60_000)).toBeGreaterThan(250_000);
  });

  it('begins anew when the way out changed', () => {
    const subject = reconnect();
    ceiling(subject);
    subject.moved();
    expect(subject.waitMs()).toBeLessThanOrEqual(1_000);
  });

  it('comes back ever later while another agent uses the identity, and as before once it is gone', () => {
    const subject = reconnect();
    const bounds: number[] = [];
    for (let i = 0; i < 12; i++) {
      subject.contested();
      bounds.push(Math.max(...Array.from({ length: 50 }, () => subject.waitMs(20_000))));
    }
    expect(bounds[0]).toBeLessThanOrEqual(2 * CONTESTED.baseMs);
    expect(bounds.at(-1)).toBeGreaterThan(0.8 * CONTESTED.capMs);
    expect(subject.waitMs(UNCONTESTED_MS)).toBeLessThanOrEqual(1_000);
  });

  it('lets two agents of one identity take turns a few times an hour, whether or not they can notice', () => {
    for (const notices of [true, false]) {
      const agents = [reconnect(1), reconnect(2)] as const;
      let [on, now, since, takeovers, late] = [0, 0, 0, 0, 0];
      while (now < 24 * 3_600_000) {
        const off = on === 0 ? 1 : 0;
        const wait = agents[off].waitMs(now - since);
        [since, now] = [now, now + wait];
        takeovers++;
        if (now > 3_600_000) late++;
        if (notices && takeovers > 1) agents[off].contested();
        on = off;
      }
      expect(takeovers - late, 'in the first hour').toBeLessThan(notices ? 25 : 80);
      expect(late / 23, 'an hour after it').toBeLessThan(notices ? 6 : 60);
    }
  });

  it('brings 5,000 devices back without a stampede, after a restart of seconds and after half an hour', () => {
    const restart = outage(5);
    expect(restart.backAfter).toBeLessThan(90);
    const long = outage(1_800);
    const after = long.tries.slice(1_800);
    expect(Math.max(...after)).toBeLessThan(60);
    expect(long.backAfter).toBeLessThanOrEqual(301);
  });
});
