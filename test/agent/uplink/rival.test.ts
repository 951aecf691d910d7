import { describe, expect, it } from 'vitest';
import { RivalWatch } from '../../../agent/src/uplink/rival.ts';

const status = (boot: string, session: string, online: 0 | 1 = 1) => ({
  ...{ boot, session, online },
  agentVersion: '1',
});

describe('another agent under this identity', () => {
  it('is not what this device was before its last start, nor its will that comes late', () => {
    const watch = new RivalWatch('now');
    expect(watch.hear(status('before', 's1'))).toBe(false);
    expect(watch.hear(status('now', 's2'))).toBe(false);
    expect(watch.hear(status('before', 's1', 0))).toBe(false);
    expect(watch.hear(status('now', 's2', 0))).toBe(false);
  });

  it('is whoever connected after the broker gave back our own word, online or already gone again', () => {
    for (const online of [0, 1] as const) {
      const watch = new RivalWatch('now');
      watch.hear(status('now', 's2'));
      expect(watch.hear(status('other', 's3', online))).toBe(true);
    }
  });

  it('is noticed when it was there first, by the next connection of its own', () => {
    const watch = new RivalWatch('now');
    watch.hear(status('other', 's1'));
    watch.hear(status('now', 's2'));
    expect(watch.hear(status('other', 's3'))).toBe(true);
  });

  it('is not suspected while our own word has not come back: the line may have broken first', () => {
    const watch = new RivalWatch('now');
    for (let i = 0; i < 100; i++) expect(watch.hear(status('other', `s${i}`))).toBe(false);
  });
});
