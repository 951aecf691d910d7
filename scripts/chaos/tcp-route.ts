/**
 * A stretch of network that can be spoilt: a TCP proxy between one party and another. What it does to bytes it does to
 * connections of now and of later, until its weather is clear again.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Millis } from '@skein/protocol/units.ts';

export const WEATHERS = ['cut', 'stall', 'half-close', 'slow', 'resets'] as const;
/**
 * cut: every connection ends, none begins. stall: nothing gets through, and nobody is told (half-open). half-close: the
 * far side loses its connections, the near side is not told. slow: {@link SLOW_RATE}. resets: one chunk in ten ends it.
 */
export type Weather = (typeof WEATHERS)[number] | 'clear';

export interface Target {
  host: string;
  port: number;
}

/** Bytes a second, each way. */
const SLOW_RATE = 4_096;
const RESET_EVERY = 10;

interface Pair {
  near: Socket;
  far: Socket;
}

export class TcpRoute {
  readonly name: string;
  readonly #target: () => Target;
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #held: (() => void)[] = [];
  #weather: Weather = 'clear';
  #chunks = 0;

  constructor(name: string, target: () => Target) {
    this.name = name;
    this.#target = target;
    this.#server = createServer((near) => this.#accept(near));
  }

  listen(host = '127.0.0.1'): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, host, () => resolve((this.#server.address() as { port: number }).port));
    });
  }

  set weather(weather: Weather) {
    this.#weather = weather;
    if (weather === 'cut') this.cut();
    if (weather === 'half-close') for (const { far } of this.#pairs) far.destroy();
    if (weather === 'clear') for (const go of this.#held.splice(0)) go();
  }

  /** Ends every connection of now: also what a new target needs. */
  cut(): void {
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far.destroy();
    }
  }

  async close(): Promise<void> {
    this.weather = 'clear';
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(near: Socket): void {
    if (this.#weather === 'cut') {
      near.destroy();
      return;
    }
    const pair = { near, far: connect(this.#target()) };
    this.#pairs.add(pair);
    for (const socket of [pair.near, pair.far]) {
      socket.setNoDelay(true);
      socket.on('error', () => {});
    }
    near.on('data', (chunk) => this.#carry(chunk, near, pair.far));
    pair.far.on('data', (chunk) => this.#carry(chunk, pair.far, near));
    near.once('close', () => {
      this.#pairs.delete(pair);
      pair.far.destroy();
    });
    pair.far.once('close', () => {
      if (this.#weather !== 'half-close') near.destroy();
      else this.#held.push(() => near.destroy());
    });
  }

  #carry(chunk: Buffer, from: Socket, to: Socket): void {
    const pass = (): void => {
      from.resume();
      if (!to.destroyed) to.write(chunk);
    };
    switch (this.#weather) {
      case 'clear':
      case 'cut':
        pass();
        break;
      case 'stall':
        from.pause();
        this.#held.push(pass);
        break;
      case 'half-close':
        // Into nowhere.
        break;
      case 'slow':
        from.pause();
        setTimeout(pass, slowMs(chunk));
        break;
      case 'resets':
        if (++this.#chunks % RESET_EVERY === 0) from.destroy();
        else pass();
        break;
      default:
        this.#weather satisfies never;
    }
  }
}

const slowMs = (chunk: Buffer): Millis => (chunk.length / SLOW_RATE) * 1_000;
