import type { Broker } from '@skein/fleet-server/broker/port.ts';
import { announceReads } from '@skein/fleet-server/ingest/announce-reads.ts';
import { parseReads, READS_DOMAIN } from '@skein/protocol/messages.ts';
import { openEnvelope } from '@skein/protocol/trust/envelope.ts';
import { expect, it } from 'vitest';
import { testSigner, testVerify } from '../../protocol/batch/random.ts';

const quiet = { info() {}, warn() {}, error() {} };

function setup(start: string) {
  const said: { topic: string; bytes: Uint8Array; retain: boolean }[] = [];
  let connected = () => {};
  let failing = false;
  const broker = {
    onConnect(handler: () => void) {
      connected = handler;
    },
    async publish(topic: string, bytes: Uint8Array, { retain }: { retain: boolean }) {
      if (failing) throw new Error('not connected');
      said.push({ topic, bytes, retain });
    },
  } as unknown as Broker;
  const signers = [testSigner('one'), testSigner('two')];
  const tell = announceReads({
    broker,
    fleet: 'home',
    log: quiet,
    signer: () => signers[0]!,
    zstd: true,
    start,
  });
  return {
    ...{ said, tell },
    reconnect: () => connected(),
    rotate: () => void signers.shift(),
    fail(now: boolean) {
      failing = now;
    },
  };
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

it('tells each device, signed and retained, what is read here and that the server began anew', () => {
  const { said, tell } = setup('a1');
  tell('d-1');
  tell('d-2');
  expect(said.map(({ topic, retain }) => [topic, retain])).toEqual([
    ['skein/v1/home/d-1/reads', true],
    ['skein/v1/home/d-2/reads', true],
  ]);
  const key = hex(testSigner('one').publicKey);
  const payload = openEnvelope(testVerify, [key], READS_DOMAIN, 'd-2', said[1]!.bytes);
  expect(parseReads.parse(payload, 'reads')).toEqual({
    forms: ['SKB1', 'SKB2', 'SKN1'],
    zstd: 1,
    start: 'a1',
  });
});

it('says it once, and again after the broker forgot, the key changed, or it was not taken', async () => {
  const { said, tell, reconnect, rotate, fail } = setup('a1');
  tell('d-1');
  tell('d-1');
  expect(said).toHaveLength(1);
  reconnect();
  tell('d-1');
  expect(said).toHaveLength(2);
  rotate();
  fail(true);
  tell('d-1');
  await new Promise((resolve) => setImmediate(resolve));
  fail(false);
  tell('d-1');
  expect(said).toHaveLength(3);
});
