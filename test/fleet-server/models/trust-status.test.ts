/** What a person is told about signed documents, months before devices would refuse them. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { initKeys } from '@skein/fleet-server/cli/init-keys.ts';
import { createMetrics } from '@skein/fleet-server/http/metrics.ts';
import { openDiskOnlineKeys } from '@skein/fleet-server/models/disk-online-keys.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { DAY, HOUR } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEVICE } from '../../protocol/trust/simulated-repository.ts';
import { type Desk, openDesk } from './desk.ts';

let desk: Desk;
beforeEach(async () => {
  desk = await openDesk();
  await initKeys({ api: desk.api, dir: join(desk.folder, 'keys'), clock: desk.clock, verify: nativeVerify });
});
afterEach(() => desk.close());

const trust = () => desk.api.call('trust');
const said = async () =>
  (await trust()).warnings.map(({ code, severity, repo }) => `${severity} ${repo} ${code}`);

/** The server's upkeep, which in truth looks every hour. */
async function livesFor(days: number) {
  for (const end = desk.time.now + days * DAY; desk.time.now < end; desk.time.now += 6 * HOUR) {
    await desk.repository.resignDue(desk.time.now);
  }
}

describe('the trust status', () => {
  it('lists every document with its expiry and its keys, and has nothing to say in a young fleet', async () => {
    const { documents, warnings } = await trust();
    expect(warnings).toEqual([]);
    expect(documents.map((d) => [d.repo, d.role, d.keys.length, d.threshold, d.heldHere])).toEqual([
      ['image', 'root', 3, 2, false],
      ['image', 'targets', 1, 1, false],
      ['image', 'snapshot', 1, 1, true],
      ['image', 'timestamp', 1, 1, true],
      ['director', 'root', 3, 2, false],
    ]);
  });

  it('warns of targets and roots long before they expire, worst first, and says which command renews them', async () => {
    await livesFor(276);
    expect(await said()).toEqual(['notice image TARGETS_EXPIRING']);
    await livesFor(351 - 276);
    expect(await said()).toEqual(['critical image TARGETS_EXPIRING']);
    await livesFor(641 - 351);
    expect(await said()).toEqual([
      'critical image TARGETS_EXPIRING',
      'warning image ROOT_EXPIRING',
      'warning director ROOT_EXPIRING',
    ]);
    const [targets, image, director] = (await trust()).warnings;
    expect(targets).toMatchObject({ text: expect.stringContaining('Expired 2027-01-01') });
    expect(image!.fix).toContain('skein keys renew --role root');
    expect(director!.fix).toContain('skein keys renew --role director-root');
  });

  it('says when the server does not sign again, and no longer once it did', async () => {
    desk.time.now += 5 * DAY;
    expect(await said()).toEqual(['warning image ONLINE_STALE', 'warning image ONLINE_STALE']);
    await desk.repository.resignDue(desk.time.now);
    expect(await said()).toEqual([]);
  });

  it('is in the metrics with its own time base', async () => {
    desk.time.now += 6.5 * DAY;
    const metrics = createMetrics({
      devices: () => 0,
      devicesOnline: () => 0,
      streamClients: () => 0,
      trust: () => desk.api.call('trust'),
    });
    const text = await metrics.text();
    expect(text).toContain('skein_trust_warnings{severity="critical"} 2');
    expect(text).toMatch(/skein_trust_expiry_timestamp_seconds\{repository="image",role="root"\} 1830297600/);
  });
});

describe('online documents', () => {
  it('of the image repository and of every device are signed again at half of their life, for a season', async () => {
    await desk.director.document(DEVICE);
    let [signed, announced] = [0, 0];
    const end = desk.time.now + 90 * DAY;
    for (; desk.time.now < end; desk.time.now += 6 * HOUR) {
      if (await desk.repository.resignDue(desk.time.now)) signed++;
      announced += await desk.director.announceDue(desk.time.now);
      const { documents } = await trust();
      for (const { role, expiresAt } of documents) {
        if (role === 'snapshot' || role === 'timestamp')
          expect(expiresAt - desk.time.now).toBeGreaterThan(3 * DAY);
      }
    }
    const row = await desk.store.selectFrom('director_documents').select('expires_at').executeTakeFirst();
    expect(row!.expires_at - desk.time.now).toBeGreaterThan(3 * DAY);
    expect(signed).toBeGreaterThan(20);
    expect(announced).toBeGreaterThan(20);
  });
});

describe('online keys', () => {
  const folder = () => join(desk.folder, 'online');

  it('that are lost are missed at once, by name, and what is served stays served', async () => {
    rmSync(join(folder(), 'timestamp.key'));
    desk.reopenOnlineKeys();
    const { warnings } = await trust();
    expect(warnings).toMatchObject([{ code: 'ONLINE_KEY_MISSING', severity: 'critical', role: 'timestamp' }]);
    expect(warnings[0]!.fix).toContain('skein keys rotate --role timestamp');
    desk.time.now += 4 * DAY;
    await expect(desk.repository.resignDue(desk.time.now)).rejects.toMatchObject({ code: 'KEYS_INVALID' });
    expect(await desk.repository.file('image', 'timestamp.json')).toBeDefined();
  });

  it('are made once when they are staged twice, and survive a start', async () => {
    const first = await desk.api.call('stageOnlineKeys', { body: { roles: ['snapshot'] } });
    const again = await desk.api.call('stageOnlineKeys', { body: { roles: ['snapshot'] } });
    expect(again).toEqual(first);
    desk.reopenOnlineKeys();
    expect(await desk.api.call('onlineKeys')).toEqual(first);
    expect(readdirSync(folder())).toContain('snapshot.next.key');
  });

  it('that are staged sign nothing before a root names them', async () => {
    await desk.api.call('stageOnlineKeys', { body: { roles: ['snapshot', 'timestamp', 'director'] } });
    desk.time.now += 4 * DAY;
    await desk.repository.resignDue(desk.time.now);
    expect(await said()).toEqual([]);
    expect(
      (await trust()).documents.every((d) => d.role === 'root' || d.role === 'targets' || d.heldHere),
    ).toBe(true);
  });

  it('whose file is damaged are refused with what to do', () => {
    writeFileSync(join(folder(), 'director.key'), 'rubbish');
    expect(() => openDiskOnlineKeys(folder())).toThrow(
      expect.objectContaining({ code: 'KEYS_INVALID', fix: expect.stringContaining('skein keys rotate') }),
    );
  });
});
