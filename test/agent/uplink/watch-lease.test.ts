import { COMMAND_DOMAIN, WATCH_MS } from '@skein/protocol/commands.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import { expect, it } from 'vitest';
import { WatchLease } from '../../../agent/src/uplink/watch-lease.ts';
import { createWatch } from '../../../fleet-server/src/fleet/watch.ts';
import { testSigner, testVerify } from '../../protocol/batch/random.ts';
import { manualClock } from '../manual-clock.ts';

const server = testSigner('server');

function scene(profile: 'lan' | 'metered' = 'metered') {
  const clock = manualClock();
  const sent: Uint8Array[] = [];
  const broker = { publish: async (_: string, bytes: Uint8Array) => void sent.push(bytes) };
  const log = { info() {}, warn() {}, error() {} };
  const watch = createWatch({
    view: { live: () => ({ hello: { profile } }) as never },
    ...{ broker: broker as never, fleet: 'home', clock, log, signer: () => server },
  });
  const ackKeys = () => [Buffer.from(server.publicKey).toString('hex')];
  const lease = new WatchLease({ device: 'd-1', verify: testVerify, ackKeys, clock });
  return { clock, sent, watch, lease };
}

it('a metered device is watched while somebody looks, and a minute longer', async () => {
  const { clock, sent, watch, lease } = scene();
  expect(lease.watched).toBe(false);
  watch('d-1');
  watch('d-1');
  expect(sent).toHaveLength(1);
  lease.hear(sent[0]!);
  expect(lease.watched).toBe(true);
  await clock.advance(WATCH_MS / 2);
  watch('d-1');
  lease.hear(sent[1]!);
  await clock.advance(WATCH_MS - 1);
  expect(lease.watched).toBe(true);
  await clock.advance(1);
  expect(lease.watched).toBe(false);
});

it('a command that is old, expired, replayed or not the server’s gives nothing', async () => {
  const { clock, sent, watch, lease } = scene();
  watch('d-1');
  await clock.advance(WATCH_MS / 2);
  watch('d-1');
  lease.hear(sent[1]!);
  await clock.advance(WATCH_MS);
  for (const bytes of sent) lease.hear(bytes);
  expect(lease.watched).toBe(false);
  const forged = new TextEncoder().encode(
    JSON.stringify({ kind: 'watch', counter: 2 ** 50, expires: 2 ** 50, forMs: 1000 }),
  );
  const stranger = sealEnvelope(testSigner('broker'), COMMAND_DOMAIN, 'd-1', forged);
  expect(() => lease.hear(stranger)).toThrowError(expect.objectContaining({ code: 'SIGNATURE_INVALID' }));
  expect(() => lease.hear(sealEnvelope(server, COMMAND_DOMAIN, 'd-2', forged))).toThrow();
  expect(lease.watched).toBe(false);
});

it('a device on a LAN, which tells its state anyway, is sent nothing', () => {
  const { sent, watch } = scene('lan');
  watch('d-1');
  expect(sent).toEqual([]);
});
