/**
 * The local API's connections: sockets in, answers out, in order, one request of a connection at a time. What a
 * connection may hold is bounded (`http-message.ts`), and so are what all of them hold, their number and every wait:
 * a request must be whole within 10 s, an idle connection ends after 60 s, a client
 * that does not read its answer is let go after the same. No Date is sent: a device's clock may be wrong (RFC 9110, 6.6.1).
 */
import { createServer, type Socket } from 'node:net';
import { asSkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { BodyBudget } from './body-budget.ts';
import { HttpProblem, type HttpRequest, RequestReader } from './http-message.ts';
import { type Listening, type ListenKeys, listenOn } from './tcp-listen.ts';

export interface HttpAnswer {
  status: number;
  type: string;
  body: string | Uint8Array;
  /** Further fields; names and values are ours, never a client's. */
  headers?: Readonly<Record<string, string>>;
}

/** Never rejects. */
export type HttpHandler = (request: HttpRequest) => Promise<HttpAnswer>;

export interface HttpLimits {
  /** A request that has begun must be whole by then, an answer read. */
  requestWithinMs: Millis;
  /** Between two requests of a connection. */
  idleMs: Millis;
}
const LIMITS: HttpLimits = { requestWithinMs: 10 * SECOND, idleMs: 60 * SECOND };
const SWEEP_MS: Millis = SECOND;
const MAX_CONNECTIONS = 256;
/** Bytes of later requests that a connection may have sent while one is answered. */
const AHEAD_LIMIT: Bytes = 64 * KIB;
/** Of each connection, not counted: whoever asks for little is answered while others fill the memory. */
const UNCOUNTED: Bytes = 64 * KIB;

const REASONS: Record<number, string> = {
  200: 'OK',
  202: 'Accepted',
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

function headOf({ status, type, headers }: HttpAnswer, length: Bytes, keepAlive: boolean): string {
  let head = `HTTP/1.1 ${status} ${REASONS[status] ?? 'Unknown'}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n`;
  for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
  return `${head}${keepAlive ? '' : 'Connection: close\r\n'}\r\n`;
}

/** One write a request: a head and a body apart cost a system call more. */
function send(
  socket: Socket,
  answer: HttpAnswer,
  { method, keepAlive }: Pick<HttpRequest, 'method' | 'keepAlive'>,
) {
  const body = typeof answer.body === 'string' ? Buffer.from(answer.body, 'utf8') : answer.body;
  const head = headOf(answer, body.length, keepAlive);
  if (method === 'HEAD' || body.length === 0) return socket.write(head, 'latin1');
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 0, 'latin1');
  bytes.set(body, head.length);
  return socket.write(bytes);
}

function problemAnswer(problem: unknown): HttpAnswer {
  const type = 'application/json';
  const told = (status: number, code: string, message: string, fix?: string): HttpAnswer => ({
    status,
    type,
    body: `${JSON.stringify({ error: `${code}: ${message}`, code, fix })}\n`,
  });
  if (problem instanceof HttpProblem) {
    const { status, message } = problem;
    return told(status, status === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_INVALID', message);
  }
  const { code, message, fix } = asSkeinError(problem);
  return told(503, code, message, fix);
}

const counted = (bytes: Bytes): Bytes => Math.max(0, bytes - UNCOUNTED);

class Connection {
  readonly #socket: Socket;
  readonly #handler: HttpHandler;
  readonly #bodies: BodyBudget;
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

  constructor(socket: Socket, handler: HttpHandler, bodies: BodyBudget) {
    this.#socket = socket;
    this.#handler = handler;
    this.#bodies = bodies;
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
    if (!this.#reader.underWay) this.#since = performance.now();
    try {
      this.#bodies.check(counted(this.#held + bytes.length) - counted(this.#held));
    } catch (overloaded) {
      this.#refuse(overloaded);
      return false;
    }
    this.#hold(this.#held + bytes.length);
    this.#reader.push(bytes);
    return true;
  }

  #hold(bytes: Bytes): void {
    this.#bodies.take(counted(bytes) - counted(this.#held));
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

export interface HttpServer {
  /** Where it listens: TCP port, or undefined on a Unix socket. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

const KEYS: ListenKeys = { port: 'SKEIN_AGENT_PORT (api.port)', socket: 'api.socket' };

/**
 * @param bodies may be shared with other servers of this process
 * @throws SkeinError PORT_IN_USE, CONFIG_INVALID
 */
export async function openHttpServer(
  handler: HttpHandler,
  where: Listening,
  bodies: BodyBudget,
  limits: HttpLimits = LIMITS,
): Promise<HttpServer> {
  const connections = new Map<Socket, Connection>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.set(socket, new Connection(socket, handler, bodies));
    socket.once('close', () => connections.delete(socket));
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listenOn(server, where, KEYS);
  const sweep = setInterval(
    () => {
      const now = performance.now();
      for (const connection of connections.values()) connection.sweep(now, limits);
    },
    Math.min(SWEEP_MS, limits.requestWithinMs / 4),
  );
  sweep.unref();
  const address = server.address();
  return {
    port: typeof address === 'object' ? address?.port : undefined,
    close: () =>
      new Promise((resolve) => {
        clearInterval(sweep);
        server.close(() => resolve());
        for (const socket of connections.keys()) socket.destroy();
      }),
  };
}
