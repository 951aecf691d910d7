/**
 * The local API's connections: sockets in, answers out, in order, one request of a connection at a time. What a
 * connection may hold is bounded (`http-message.ts`), and so are their number and every wait:
 * a request must be whole within 10 s, an idle connection ends after 60 s, a client
 * that does not read its answer is let go after the same. No Date is sent: a device's clock may be wrong (RFC 9110, 6.6.1).
 */
import { createServer, type Socket } from 'node:net';
import { type Bytes, KIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type HttpProblem, type HttpRequest, RequestReader } from './http-message.ts';
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

const problemAnswer = ({ status, message }: HttpProblem): HttpAnswer => {
  const code = status === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_INVALID';
  return {
    status,
    type: 'application/json',
    body: `${JSON.stringify({ error: `${code}: ${message}`, code })}\n`,
  };
};

class Connection {
  readonly #socket: Socket;
  readonly #handler: HttpHandler;
  readonly #reader = new RequestReader();
  /** A request is being answered. */
  #busy = false;
  /** The client has sent its last byte. */
  #halfClosed = false;
  /** Monotonic: since when this has been waiting for what it waits for now. */
  #since = performance.now();
  #aheadBytes = 0;

  constructor(socket: Socket, handler: HttpHandler) {
    this.#socket = socket;
    this.#handler = handler;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.#received(bytes));
    socket.on('end', () => {
      this.#halfClosed = true;
      if (!this.#busy) socket.end();
    });
    socket.on('error', () => socket.destroy());
  }

  #received(bytes: Buffer): void {
    if (!this.#reader.underWay && !this.#busy) this.#since = performance.now();
    this.#reader.push(bytes);
    if (this.#busy) {
      this.#aheadBytes += bytes.length;
      if (this.#aheadBytes > AHEAD_LIMIT) this.#socket.pause();
    } else this.#pump();
  }

  /** Takes up the next whole request. */
  #pump(): void {
    let request: HttpRequest | undefined;
    try {
      request = this.#reader.next();
    } catch (thrown) {
      this.#refuse(thrown as HttpProblem);
      return;
    }
    if (request) void this.#answer(request);
    else if (this.#reader.takeExpectation()) this.#socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
  }

  async #answer(request: HttpRequest): Promise<void> {
    this.#busy = true;
    const answer = await this.#handler(request);
    this.#busy = false;
    this.#since = performance.now();
    if (this.#socket.destroyed) return;
    send(this.#socket, answer, request);
    if (!request.keepAlive || (this.#halfClosed && !this.#reader.underWay)) return void this.#socket.end();
    this.#aheadBytes = 0;
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#pump();
  }

  /** The rest of what the peer sends can not be told apart any more. */
  #refuse(problem: HttpProblem): void {
    this.#busy = true;
    this.#socket.removeAllListeners('data').resume();
    send(this.#socket, problemAnswer(problem), { method: 'GET', keepAlive: false });
    this.#socket.end();
    this.#since = performance.now();
  }

  /** Ends what has waited too long. While an answer is made the client may wait: the model's own limit counts. */
  sweep(now: Millis, { requestWithinMs, idleMs }: HttpLimits): void {
    const limit = this.#reader.underWay || this.#socket.writableEnded ? requestWithinMs : idleMs;
    const stuck = this.#socket.writableLength > 0 || !this.#busy || this.#socket.writableEnded;
    if (stuck && now - this.#since > limit) this.#socket.destroy();
  }
}

export interface HttpServer {
  /** Where it listens: TCP port, or undefined on a Unix socket. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

const KEYS: ListenKeys = { port: 'SKEIN_AGENT_PORT (api.port)', socket: 'api.socket' };

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export async function openHttpServer(
  handler: HttpHandler,
  where: Listening,
  limits: HttpLimits = LIMITS,
): Promise<HttpServer> {
  const connections = new Map<Socket, Connection>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.set(socket, new Connection(socket, handler));
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
