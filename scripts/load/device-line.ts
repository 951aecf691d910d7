/**
 * One simulated device on one mTLS connection: batches up within a window, answers down. What counts as an answer is
 * the caller's choice: the server's signed acknowledgement, or the broker's PUBACK.
 */
import { connect as connectTls, createSecureContext } from 'node:tls';
import { ACK_DOMAIN, parseAck } from '@skein/protocol/batch/ack.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import { batchChannel, topicFor } from '@skein/protocol/topics.ts';
import { openEnvelope } from '@skein/protocol/trust/envelope.ts';
import type { MadeBatch } from './made-batches.ts';
import {
  connectPacket,
  createReader,
  type Packet,
  pubackPacket,
  publishPacket,
  subscribePacket,
} from './mqtt-wire.ts';

export type AnswerBy = 'signed-ack' | 'puback';

/** As the agent's own (`uplink/drain.ts`). */
const WINDOW = 4;

export interface LineOptions {
  fleet: string;
  device: string;
  port: number;
  tls: { ca: string; cert: string; key: string };
  ackKey: string;
  verify: Verify;
  answerBy: AnswerBy;
  /** An answer came, so many milliseconds after its batch went. */
  answered(ms: number): void;
  failed(error: Error): void;
}

export interface DeviceLine {
  /** Resolves when every batch has been answered. */
  send(batches: readonly MadeBatch[]): Promise<void>;
  close(): void;
}

interface Flight {
  batch: MadeBatch;
  sentAt: number;
}

/** Resolves once connected and subscribed. */
export function openLine(options: LineOptions): Promise<DeviceLine> {
  const { fleet, device, port, tls, ackKey, verify, answerBy, answered, failed } = options;
  const topic = topicFor(fleet, device, batchChannel('predictions'));
  const waiting: MadeBatch[] = [];
  const flights = new Map<number, Flight>();
  let nextId = 0;
  let closed = false;
  let finished: (() => void) | undefined;

  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: '127.0.0.1',
      port,
      servername: 'localhost',
      secureContext: createSecureContext(tls),
    });
    socket.setNoDelay(true);
    const pump = () => {
      socket.cork();
      while (flights.size < WINDOW && waiting.length > 0) {
        const batch = waiting.shift()!;
        nextId = (nextId % 65_535) + 1;
        flights.set(nextId, { batch, sentAt: performance.now() });
        socket.write(publishPacket(topic, nextId, batch.bytes));
      }
      socket.uncork();
      if (flights.size === 0) finished?.();
    };
    const land = (id: number) => {
      answered(performance.now() - flights.get(id)!.sentAt);
      flights.delete(id);
    };
    const acknowledged = (payload: Buffer) => {
      const ack = parseAck.parse(openEnvelope(verify, [ackKey], ACK_DOMAIN, device, payload), 'ack');
      const named = [...flights.values()].find(({ batch }) => batch.upTo === ack.upTo);
      if (named && named.batch.head !== ack.head) return failed(new Error(`${device}: another head`));
      for (const [id, { batch }] of flights) if (batch.upTo <= ack.upTo) land(id);
    };
    const line: DeviceLine = {
      send(batches) {
        waiting.push(...batches);
        return new Promise((done) => {
          finished = done;
          pump();
        });
      },
      close() {
        closed = true;
        socket.destroy();
      },
    };
    const take = (packet: Packet) => {
      if (packet.kind === 'connack') socket.write(subscribePacket(topicFor(fleet, device, 'ack')));
      else if (packet.kind === 'suback') resolve(line);
      else if (packet.kind === 'publish') {
        if (packet.id !== undefined) socket.write(pubackPacket(packet.id));
        acknowledged(packet.payload);
        pump();
      } else if (answerBy === 'puback') {
        land(packet.id);
        pump();
      }
    };
    socket.on('secureConnect', () => socket.write(connectPacket(device)));
    socket.on('data', createReader(take));
    socket.on('error', (error) => {
      reject(error);
      failed(error);
    });
    socket.on('close', () => {
      const error = new Error(`${device}: cut off`);
      reject(error);
      if (!closed) failed(error);
    });
  });
}
