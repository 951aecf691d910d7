/**
 * One connection of the local API: requests in, answers out, in order, one at a time. What it holds is bounded
 * (`http-message.ts`) and counted together with what all others hold (`body-budget.ts`).
 */
import type { Socket } from 'node:net';
import { type Bytes, KIB, type Millis } from '@skein/protocol/units.ts';
import type { BodyBudget } from './body-budget.ts';
import type { BusyPoll } from './busy-poll.ts';
import { type HttpAnswer, problemAnswer, send } from './http-answer.ts';
import type { HttpRequest } from './http-head.ts';
import { RequestReader } from './http-message.ts';

/** Neither throws nor rejects. */
export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

export interface HttpLimits {
  /** A request that has begun must be whole by then, an answer read. */
  requestWithinMs: Millis;
  /** Between two requests of a connection. */
  idleMs: Millis;
  /** For how long after an answer the loop stays awake for a client that asks again at once; 0: never. */
  busyPollMs: Millis;
}
/** Bytes of later requests that a connection may have sent while one is answered. */
const AHEAD_LIMIT: Bytes = 64 * KIB;
/** Of each connection, not counted: whoever asks for little is answered while others fill the memory. */
const UNCOUNTED: Bytes = 64 * KIB;

const counted = (bytes: Bytes): Bytes => Math.max(0, bytes - UNCOUNTED);

export class Connection {
  readonly #socket: Socket;
  readonly #handler: HttpHandler;
  readonly #bodies: BodyBudget;
  readonly #poll: BusyPoll;
  #reader = new RequestReader();
  /** Of what is read, answered, and sent but not yet taken; what comes after `refused` is not looked at. */
  #state: 'reading' | 'answering' | 'draining' | 'refused' = 'reading';
  /** Bytes of the request under way and behind it, and of an answer that the client has yet to take. */
  #held: Bytes = 0;
  /** The client has sent its last byte. */
  #halfClosed = false;
  /** Monotonic: since when this has been waiting for what it waits for now. */
  #since = performance.now();
  #aheadBytes = 0;

  constructor(socket: Socket, handler: HttpHandler, bodies: BodyBudget, poll: BusyPoll) {
    this.#socket = socket;
    this.#handler = handler;
    this.#bodies = bodies;
    this.#poll = poll;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.#received(bytes));
    socket.on('end', () => {
      this.#halfClosed = true;
      if (this.#state === 'reading') socket.end();
    });
    socket.on('error', () => socket.destroy());
    // What is being answered is in use until it has been.
    socket.on('close', () => this.#state !== 'answering' && this.#letGo());
  }

  #received(bytes: Buffer): void {
    if (this.#state !== 'reading') this.#ahead(bytes);
    else if (this.#take(bytes)) this.#pump();
  }

  #ahead(bytes: Buffer): void {
    this.#hold(this.#held + bytes.length);
    this.#reader.push(bytes);
    this.#aheadBytes += bytes.length;
    if (this.#aheadBytes > AHEAD_LIMIT) this.#socket.pause();
  }

  /** @returns whether there was memory for them */
  #take(bytes: Buffer): boolean {
    if (!this.#reader.underWay) {
      this.#poll.asked(this);
      this.#since = performance.now();
    }
    try {
      this.#bodies.claim(counted(this.#held + bytes.length) - counted(this.#held));
    } catch (overloaded) {
      this.#refuse(overloaded);
      return false;
    }
    this.#held += bytes.length;
    this.#reader.push(bytes);
    return true;
  }

  #hold(bytes: Bytes): void {
    this.#bodies.count(counted(bytes) - counted(this.#held));
    this.#held = bytes;
  }

  #letGo(): void {
    this.#reader = new RequestReader();
    this.#hold(0);
  }

  /** Takes up the next whole request. */
  #pump(): void {
    let request: HttpRequest | undefined;
    try {
      request = this.#reader.next();
    } catch (thrown) {
      this.#refuse(thrown);
      return;
    }
    if (request) void this.#answer(request);
    else if (this.#reader.takeExpectation()) this.#socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
  }

  async #answer(request: HttpRequest): Promise<void> {
    this.#state = 'answering';
    const answer = await this.#handler(request);
    this.#state = 'draining';
    this.#since = performance.now();
    if (this.#socket.destroyed) return this.#letGo();
    send(this.#socket, answer, request);
    this.#poll.answered(this);
    const { writableLength } = this.#socket;
    this.#hold(this.#reader.size + writableLength);
    if (!request.keepAlive) this.#socket.end();
    // A client that asks and does not read would have its answers pile up here.
    else if (writableLength > AHEAD_LIMIT) this.#socket.once('drain', () => this.#next());
    else this.#next();
  }

  #next(): void {
    this.#state = 'reading';
    this.#hold(this.#reader.size);
    if (this.#halfClosed && !this.#reader.underWay) return void this.#socket.end();
    this.#aheadBytes = 0;
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#pump();
  }

  /** The rest of what the peer sends can not be told apart any more. */
  #refuse(problem: unknown): void {
    this.#state = 'refused';
    this.#socket.removeAllListeners('data').resume();
    this.#letGo();
    send(this.#socket, problemAnswer(problem), { method: 'GET', keepAlive: false });
    this.#socket.end();
    this.#since = performance.now();
  }

  /** Ends what has waited too long. While an answer is made the client may wait: the model's own limit counts. */
  sweep(now: Millis, { requestWithinMs, idleMs }: HttpLimits): void {
    const limit = this.#reader.underWay || this.#socket.writableEnded ? requestWithinMs : idleMs;
    const stuck = this.#state !== 'answering' || this.#socket.writableLength > 0;
    if (stuck && now - this.#since > limit) this.#socket.destroy();
  }
}
