/** What only a broker that misbehaves shows; with brokers that behave: `test/contracts/broker.test.ts`. */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { connectMqttBroker } from '@skein/fleet-server/broker/mqtt-broker.ts';
import { systemClock } from '@skein/fleet-server/system-clock.ts';
import { describe, expect, it } from 'vitest';

const CONNACK = Buffer.from([0x20, 2, 0, 0]);
const [CONNECT, SUBSCRIBE] = [1, 8];

/** SUBACK (MQTT 3.1.1, 3.9) with the same code for each topic of a SUBSCRIBE whose length fits into one byte or two. */
function suback(packet: Buffer, code: number): Buffer {
  const body = packet.subarray(packet[1]! < 128 ? 2 : 3);
  let topics = 0;
  for (let at = 2; at < body.length; at += 3 + body.readUInt16BE(at)) topics++;
  return Buffer.from([0x90, 2 + topics, body[0]!, body[1]!, ...Array(topics).fill(code)]);
}

/** A broker whose nth connection answers a subscription as `answers[n]` says, the last one for all later ones. */
async function scriptedBroker(answers: ((socket: Socket, subscribe: Buffer) => void)[]) {
  let connections = 0;
  const server = createServer((socket) => {
    const answer = answers[Math.min(connections++, answers.length - 1)]!;
    socket.on('error', () => {});
    socket.on('data', (packet) => {
      const kind = packet[0]! >> 4;
      if (kind === CONNECT) socket.write(CONNACK);
      if (kind === SUBSCRIBE) answer(socket, packet);
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const close = () => new Promise((closed) => server.close(closed));
  return { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

const grants = (socket: Socket, subscribe: Buffer) => void socket.write(suback(subscribe, 1));
const grantsThenCuts = (socket: Socket, subscribe: Buffer) => {
  grants(socket, subscribe);
  setTimeout(() => socket.destroy(), 50);
};
const cuts = (socket: Socket) => void socket.destroy();
const isSilent = () => {};
const refuses = (socket: Socket, subscribe: Buffer) => void socket.write(suback(subscribe, 0x80));

describe('a broker of somebody else’s', () => {
  it.each([
    ['cuts the connection while it is subscribed to', cuts],
    ['refuses a subscription', refuses],
    ['does not answer a subscription', isSilent],
  ])('that comes back and %s is tried again until it does not', async (_what, answer) => {
    const scripted = await scriptedBroker([grantsThenCuts, answer, answer, grants]);
    const lines: string[] = [];
    const say = (message: string, about?: object) =>
      void lines.push([message, ...Object.values(about ?? {})].join(': '));
    const log = { info: say, warn: say, error: say };
    let now = 1_000;
    const clock = { now: () => now };
    const broker = await connectMqttBroker({
      ...{ url: scripted.url, fleet: 'home', maxPacketBytes: 1_000, clock, log },
      answerWithinMs: 300,
    });
    try {
      let begun = 0;
      broker.onConnect(() => begun++);
      expect(broker.unreachedSince).toBeNull();
      now = 5_000;
      await expect.poll(() => broker.unreachedSince).toBe(5_000);
      now = 6_000; // tries that fail meanwhile are no new beginning
      await expect.poll(() => begun, { timeout: 15_000 }).toBe(2);
      expect(broker.unreachedSince).toBeNull();
      expect(lines.at(-1)).toBe('mqtt broker reached again');
      expect(lines, 'what is wrong is said once').toEqual([...new Set(lines)]);
      expect(lines.length).toBeGreaterThan(1);
    } finally {
      await broker.close();
      await scripted.close();
    }
  });

  it('that cuts the first connection while it is subscribed to is an error at once', async () => {
    const scripted = await scriptedBroker([cuts]);
    const log = { info() {}, warn() {}, error() {} };
    const begun = connectMqttBroker({
      url: scripted.url,
      fleet: 'home',
      maxPacketBytes: 1_000,
      clock: systemClock,
      log,
    });
    await expect(begun).rejects.toMatchObject({ code: 'UNREACHABLE' });
    await scripted.close();
  });
});
