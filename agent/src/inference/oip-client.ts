/**
 * HTTP/1.1 to one inference server over a Unix socket or loopback; nowhere else, since nothing on this way is
 * encrypted or authenticated. Every exchange ends: by its answer, by `timeoutMs` of wall time from the call (waiting for
 * a free connection included), or at `maxBytes` of answer. At most `connections` are open.
 */
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export interface OipExchange {
  method?: 'GET' | 'POST';
  path: string;
  body?: readonly Uint8Array[];
  headers?: Record<string, string>;
  timeoutMs: Millis;
  maxBytes: Bytes;
  /** Not an inference: loads that last minutes must not stand before inferences, nor hung inferences before questions. */
  control?: boolean;
}

export interface OipReply {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

/** A reply that did not come in time; the server may be at work or may hang. */
export class LateReply extends Error {}

const CONTROL_CONNECTIONS = 16;
const CROWDED_TRIES = 100;
const CROWDED_MS: Millis = 10;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;
const UNIX = /^unix:(\/[^\0]{1,106})$/;

/** @throws SkeinError CONFIG_INVALID for anything but `unix:/absolute/path` and `http://` to loopback */
export function oipAddress(url: string): Pick<RequestOptions, 'socketPath' | 'host' | 'port'> {
  const socketPath = UNIX.exec(url)?.[1];
  if (socketPath) return { socketPath };
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'http:' && LOOPBACK.test(parsed.hostname) && parsed.pathname === '/')
    return { host: parsed.hostname.replace(/^\[|\]$/g, ''), port: parsed.port || '80' };
  throw new SkeinError('CONFIG_INVALID', `${url} is no address of a local inference server`, {
    fix: 'Write unix:/run/NAME.sock or http://127.0.0.1:PORT; other machines are not reached, the way is not protected.',
  });
}

export class OipClient {
  readonly #name: string;
  readonly #to: Pick<RequestOptions, 'socketPath' | 'host' | 'port'>;
  readonly #agent: Agent;
  readonly #control = new Agent({ keepAlive: false, maxSockets: CONTROL_CONNECTIONS });

  /** @param name for people, in errors */
  constructor(name: string, url: string, connections: number) {
    this.#name = name;
    this.#to = oipAddress(url);
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections });
  }

  /**
   * A connection that was kept and turns out dead is replaced once: the server had closed it before it saw the request.
   * One that the server has no room for is tried again for a second.
   * @throws SkeinError BACKEND_UNAVAILABLE, BACKEND_FAULT (no HTTP, more than `maxBytes`); LateReply
   */
  async exchange(call: OipExchange): Promise<OipReply> {
    const until = performance.now() + call.timeoutMs;
    for (let tries = 0; ; tries++) {
      const kept = { reused: false };
      try {
        return await this.#once({ ...call, timeoutMs: Math.max(1, until - performance.now()) }, kept);
      } catch (thrown) {
        const code = (thrown as NodeJS.ErrnoException).code ?? '';
        if (kept.reused && tries === 0 && (code === 'ECONNRESET' || code === 'EPIPE')) continue;
        // A Unix socket whose listener has as many waiting as it takes (Python's default: five) refuses at once.
        if (code !== 'EAGAIN' || tries >= CROWDED_TRIES || performance.now() > until)
          throw this.#named(thrown, code);
        await new Promise((done) => setTimeout(done, CROWDED_MS));
      }
    }
  }

  #once(call: OipExchange, kept: { reused: boolean }): Promise<OipReply> {
    const { method = 'GET', path, body = [], headers = {}, timeoutMs, maxBytes, control } = call;
    const length = body.reduce((sum, part) => sum + part.length, 0);
    const options = {
      ...this.#to,
      agent: control ? this.#control : this.#agent,
      method,
      path,
      headers: { host: 'localhost', 'content-length': length, ...headers },
    };
    return new Promise<OipReply>((resolve, reject) => {
      const sent = request(options, (message) => {
        readReply(message, maxBytes).then(resolve, (error) => {
          reject(error);
          sent.destroy();
        });
      });
      const late = setTimeout(() => {
        reject(new LateReply(`no whole answer within ${Math.round(timeoutMs)} ms`));
        sent.destroy();
      }, timeoutMs);
      sent.on('error', (error) => {
        kept.reused = sent.reusedSocket;
        reject(error);
      });
      sent.on('close', () => clearTimeout(late));
      for (const part of body) sent.write(part);
      sent.end();
    });
  }

  #named(thrown: unknown, code: string): unknown {
    if (thrown instanceof SkeinError || thrown instanceof LateReply) return thrown;
    const { message } = thrown as Error;
    if (code.startsWith('HPE_'))
      return new SkeinError('BACKEND_FAULT', `backend ${this.#name} does not answer in HTTP: ${message}`);
    return new SkeinError('BACKEND_UNAVAILABLE', `backend ${this.#name} is not reached: ${message}`, {
      fix: `Start the service behind \`backends.${this.#name}\`; \`skein-agent status\` shows when it is back.`,
      cause: thrown,
    });
  }

  close(): void {
    this.#agent.destroy();
    this.#control.destroy();
  }
}

async function readReply(message: IncomingMessage, maxBytes: Bytes): Promise<OipReply> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of message) {
    length += (chunk as Buffer).length;
    if (length > maxBytes)
      throw new SkeinError('BACKEND_FAULT', `more than the ${maxBytes} bytes that an answer may have`);
    chunks.push(chunk as Buffer);
  }
  return { status: message.statusCode ?? 0, headers: message.headers, body: Buffer.concat(chunks, length) };
}
