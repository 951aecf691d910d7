/**
 * A broker that wishes harm, in a process of its own: it loses, doubles, delays and reorders batches and their
 * acknowledgements, changes bytes, replays old acknowledgements, to the wrong device too, and forges new ones that say
 * exactly what a device would like to hear. It has no key that anybody trusts.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { nativeSigner } from '@skein/fleet-server/system-clock.ts';
import { ACK_DOMAIN } from '@skein/protocol/batch/ack.ts';
import { askedHash, takeNonce } from '@skein/protocol/batch/nonce.ts';
import { openBatch } from '@skein/protocol/batch/sealed.ts';
import { sealShortAck } from '@skein/protocol/batch/short-ack.ts';
import { parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import { Aedes, type Client } from 'aedes';
import { Chance } from '../../test/sim/seeded.ts';

export interface HostileSettings {
  seed: number;
  key: string;
  cert: string;
  ca: string;
}

const settings = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as HostileSettings;
const chance = new Chance(settings.seed);
const own = nativeSigner(Buffer.alloc(32, 7));
const NOWHERE = 'skein/nowhere';
const KEPT = 200;
/** Acknowledgements that it heard, from anybody to anybody. */
const old: { topic: string; payload: Buffer }[] = [];

const aedes = await Aedes.createBroker({
  authorizePublish(client: Client | null, packet, done) {
    const parts = parseTopic(packet.topic);
    const payload = Buffer.from(packet.payload);
    const { topic } = packet;
    if (client && (parts?.channel === 'ack' || parts?.channel.startsWith('batch/'))) {
      packet.topic = NOWHERE;
      misdeliver(topic, payload);
      if (parts.channel === 'ack') remember(topic, payload);
      else forge(parts.fleet, parts.device, payload);
    }
    done(null);
  },
});

/** Lost, changed, once, twice or late, so that others overtake it. */
function misdeliver(topic: string, payload: Buffer): void {
  const fate = chance.unit();
  if (fate < 0.15) return;
  if (fate < 0.25) deliver(topic, changed(payload), 0);
  if (fate < 0.5) deliver(topic, payload, chance.between(0, 1_500));
  if (fate < 0.65) deliver(topic, payload, chance.between(0, 3_000));
  deliver(topic, payload, fate < 0.8 ? 0 : chance.between(0, 400));
}

function changed(payload: Buffer): Buffer {
  const other = Buffer.from(payload);
  other[chance.below(other.length)]! ^= 1 << chance.below(8);
  return other;
}

function deliver(topic: string, payload: Buffer, afterMs: number): void {
  const packet = { cmd: 'publish' as const, topic, payload, qos: 0 as const, retain: false, dup: false };
  setTimeout(() => aedes.publish(packet, () => {}), afterMs);
}

/** A true one, now and then once more, and now and then to somebody else. */
function remember(topic: string, payload: Buffer): void {
  old.push({ topic, payload });
  if (old.length > KEPT) old.splice(chance.below(KEPT), 1);
  if (!chance.is(0.5)) return;
  const { topic: to } = chance.pick(old);
  const { payload: replayed } = chance.pick(old);
  deliver(to, replayed, chance.between(0, 500));
}

/** Says of a batch what the server would say, signed by nobody, by us, or with a bit of the signature changed. */
function forge(fleet: string, device: string, bytes: Buffer): void {
  if (!chance.is(0.6)) return;
  const topic = topicFor(fleet, device, 'ack');
  const { batch, nonce } = takeNonce(bytes);
  const { header, head } = openBatch(batch);
  const re = nonce ? askedHash(nonce, head) : head;
  const { stream, epoch, seq, n } = header;
  const back = chance.is(0.3) ? chance.below(seq + 1) - 1 : seq + n - 1;
  const ack = JSON.stringify({
    stream,
    epoch,
    upTo: back,
    head,
    re,
    ...(chance.is(0.3) ? { stored: true } : {}),
  });
  const signed = sealEnvelope(own, ACK_DOMAIN, device, Buffer.from(ack));
  const short = sealShortAck(own, device, [re]);
  const lie = chance.pick([
    Buffer.from(ack),
    Buffer.from(signed),
    Buffer.from(short),
    changed(Buffer.from(signed)),
  ]);
  deliver(topic, lie, chance.between(0, 200));
}

const { key, cert, ca } = settings;
const devices = createTlsServer({ key, cert, ca, requestCert: true }, (socket) => aedes.handle(socket));
const servers = createServer((socket) => aedes.handle(socket));
const portOf = (server: typeof servers): Promise<number> =>
  new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)),
  );
const ports = { mqtts: await portOf(devices), mqtt: await portOf(servers) };
if (process.channel) process.once('disconnect', () => process.exit(0));
process.stdout.write(`${JSON.stringify({ ready: true, ports })}\n`);
