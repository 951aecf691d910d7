import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BatchHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { sealBatch } from '@skein/protocol/batch/sealed.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { prediction } from '../contracts/outbox.contract.ts';
import { testSigner } from '../protocol/batch/random.ts';
import { putTestRoots, startTestServer, type TestServer } from './running-server.ts';

const MIB = 2 ** 20;
const signer = testSigner('device');

/** A disk of its own; undefined where mounting is not allowed. */
function mountSmallDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'skein-small-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'skein-small', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    rmdirSync(folder);
    return undefined;
  }
}

const disk = mountSmallDisk();

describe.skipIf(!disk)(
  `a server whose disk is full${disk ? '' : ' (skipped: mounting a tmpfs needs root)'}`,
  () => {
    let server: TestServer;
    const free = () => {
      const { bavail, bsize } = statfsSync(disk!);
      return bavail * bsize;
    };
    const filler = join(disk ?? '/nowhere', 'filler');
    const alarms = async () => (await server.people('GET', '/v1/server')).body.alarms as { code: string }[];
    const until = async (holds: () => Promise<boolean>) => {
      while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 50));
    };

    beforeAll(async () => {
      server = await startTestServer({ SKEIN_STATE_DIR: disk!, SKEIN_DISK_RESERVE: '8MiB' });
      await putTestRoots(server);
    });
    afterAll(async () => {
      await server?.close();
      if (!disk) return;
      rmSync(filler, { force: true });
      execFileSync('umount', ['-l', disk]);
      rmdirSync(disk);
    });

    it('acknowledges nothing, says so, keeps control traffic, and takes up again', async () => {
      const enrolled = await server.enrol();
      const id = enrolled.device;
      const key = Buffer.from(signer.publicKey).toString('hex');
      await server.running.store
        .updateTable('devices')
        .set({ report_key: key })
        .where('id', '=', id)
        .execute();
      const client = await enrolled.connect();
      await client.mqtt.subscribeAsync(topicFor(enrolled.fleet, id, 'ack'), { qos: 1 });
      const more = {
        v: 1,
        fleet: enrolled.fleet,
        device: id,
        stream: 'predictions',
        epoch: '0123456789abcdef',
      };
      const rest = { ordinal: 1, seq: 0, n: 3, prev: NO_HEAD, observed: 3, kept: 3, gaps: [], bridge: null };
      const bytes = Buffer.from(
        sealBatch({ ...more, ...rest } as BatchHeader, [0, 1, 2].map(prediction), signer),
      );
      const send = () =>
        client.mqtt.publishAsync(topicFor(enrolled.fleet, id, 'batch/predictions'), bytes, { qos: 1 });

      expect(await alarms()).toEqual([]);
      writeFileSync(filler, Buffer.alloc(free() - 4 * MIB, 1));
      await until(async () => (await alarms()).length > 0);
      expect(await alarms()).toMatchObject([{ code: 'DISK_FULL', severity: 'critical' }]);
      await send();
      const renamed = await server.people('PATCH', `/v1/devices/${id}`, { body: { name: 'still here' } });
      expect(renamed).toMatchObject({ status: 200, body: { name: 'still here', streams: [] } });
      expect((await server.people('POST', '/v1/tokens', { body: {} })).status).toBe(200);
      const text = (await server.people('GET', '/metrics')).body.text as string;
      expect(text).toContain('skein_disk_full 1');
      expect(text).toContain('skein_ingest_count{outcome="unstorable"} 1');
      expect(client.received).toEqual([]);

      rmSync(filler);
      await until(async () => (await alarms()).length === 0);
      await send();
      const ack = await client.until(({ topic }) => topic.endsWith('/ack'));
      expect(ack.payload).toContain('"upTo":2');
      await client.mqtt.endAsync();
    }, 30_000);
  },
);
