/**
 * What goes over this machine's loopback, as the kernel counts it: whole IP packets, both ways. Only in a network
 * namespace of its own, where nobody else talks; the interface is set to packets of a real link.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';

/** Longer than a delayed acknowledgement of TCP. */
const QUIET_MS: Millis = 60;
const MTU = '1500';

export interface Count {
  bytes: Bytes;
  packets: number;
}

function read(): Count {
  const line = /^\s*lo:\s*(\d+)\s+(\d+)/m.exec(readFileSync('/proc/net/dev', 'utf8'))!;
  return { bytes: Number(line[1]), packets: Number(line[2]) };
}

export const pause = (ms: Millis): Promise<void> => new Promise((wake) => setTimeout(wake, ms));

/** What `task` puts on the wire, its last acknowledgements included. */
export async function counted(task: () => unknown): Promise<Count> {
  await pause(QUIET_MS);
  const before = read();
  await task();
  await pause(QUIET_MS);
  const after = read();
  return { bytes: after.bytes - before.bytes, packets: after.packets - before.packets };
}

/** @throws SkeinError INTERNAL when the kernel counts otherwise than thought */
export async function openWire(): Promise<void> {
  const ip = (...args: string[]) => execFileSync('ip', ['link', 'set', 'lo', ...args], { stdio: 'inherit' });
  ip('up');
  ip('mtu', MTU, 'gso_max_size', MTU, 'gso_max_segs', '1');
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await new Promise((resolve) => socket.once('listening', resolve));
  const { port } = socket.address();
  const datagram = await counted(
    () => new Promise((sent) => socket.send(Buffer.alloc(100), port, '127.0.0.1', sent)),
  );
  socket.close();
  if (datagram.bytes === 20 + 8 + 100 && datagram.packets === 1) return;
  throw new SkeinError(
    'INTERNAL',
    `100 bytes by UDP are counted as ${JSON.stringify(datagram)}, not 128 in 1`,
  );
}
