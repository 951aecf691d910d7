import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BodyBudget } from '@skein/agent/api/body-budget.ts';
import { HTTP_LIMITS, openHttpServer } from '@skein/agent/api/http-server.ts';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';

const dir = mkdtempSync(join(tmpdir(), 'skein-http-'));
const closers: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Handler = Parameters<typeof openHttpServer>[0];
const echo: Handler = async ({ method, target, body }) => ({
  status: 200,
  type: 'text/plain',
  body: `${method} ${target} ${Buffer.from(body).toString('latin1')}`,
});

async function serve(
  handler: Handler = echo,
  limits: Partial<typeof HTTP_LIMITS> = {},
  bodies = new BodyBudget(),
) {
  const server = await openHttpServer(handler, { host: '127.0.0.1', port: 0 }, bodies, {
    ...HTTP_LIMITS,
    ...limits,
  });
  closers.push(() => server.close());
  return server.port!;
}

/** Everything the server says until it closes. */
function dialogue(port: number | string, talk: (socket: Socket) => void): Promise<string> {
  return new Promise((resolve) => {
    const socket = typeof port === 'string' ? connect(port) : connect(port, '127.0.0.1');
    closers.push(() => socket.destroy());
    let said = '';
    socket.on('data', (part) => (said += part.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(said));
    socket.once('connect', () => talk(socket));
  });
}

const POST = 'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi';
const LAST = 'GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

describe('a connection', () => {
  it('answers requests sent at once one after the other, in their order', async () => {
    let running = 0;
    const port = await serve(async (request) => {
      expect(++running).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return echo(request);
    });
    const said = await dialogue(port, (socket) => socket.write(POST.repeat(20) + LAST));
    const bodies = [...said.matchAll(/(?:POST \/a hi|GET \/b )/g)].map(([body]) => body);
    expect(bodies).toEqual([...Array(20).fill('POST /a hi'), 'GET /b ']);
    expect(said.endsWith('Connection: close\r\n\r\nGET /b ')).toBe(true);
  });

  it('answers a client that closes its side after the last request', async () => {
    const port = await serve();
    expect(await dialogue(port, (socket) => socket.end(POST))).toMatch(
      /^HTTP\/1.1 200 OK\r\n.*POST \/a hi$/s,
    );
  });

  it('says to go on to a client that waits before it sends a body', async () => {
    const port = await serve();
    const said = await dialogue(port, (socket) => {
      socket.once('data', () => socket.write('hi'));
      socket.write(
        'POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n',
      );
    });
    expect(said).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK\r\n/);
  });

  it('gives HEAD the length and no body', async () => {
    const port = await serve();
    const said = await dialogue(port, (socket) =>
      socket.write('HEAD /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
    );
    expect(said).toMatch(/Content-Length: 8\r\nConnection: close\r\n\r\n$/);
  });

  it('is told what was wrong and closed, with what follows unread', async () => {
    const port = await serve();
    const said = await dialogue(port, (socket) => socket.write(`GARBAGE\r\n\r\n${POST}`));
    expect(said).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/);
    expect(said.match(/^HTTP\/1.1 /gm)).toHaveLength(1);
  });

  it('is ended when a request does not become whole, or nothing comes', async () => {
    const port = await serve(echo, { requestWithinMs: 40, idleMs: 80 });
    expect(await dialogue(port, (socket) => socket.write('POST /a HTTP/1.1\r\nHo'))).toBe('');
    expect(await dialogue(port, (socket) => socket.write(POST.slice(0, -1)))).toBe('');
    expect(await dialogue(port, () => undefined)).toBe('');
    expect(await dialogue(port, (socket) => socket.write(POST))).toMatch(/POST \/a hi$/);
  });

  it.skipIf(availableParallelism() === 1)(
    'is waited for awake when it asks again at once, unless that is switched off',
    async () => {
      const turns = vi.spyOn(globalThis, 'setImmediate');
      const repeating = async (busyPollMs: number) => {
        const port = await serve(echo, { busyPollMs });
        const socket = connect(port, '127.0.0.1');
        closers.push(() => socket.destroy());
        turns.mockClear();
        return () => new Promise((resolve) => socket.once('data', resolve).write(POST));
      };
      const sleeper = await repeating(0);
      for (let i = 0; i < 50; i++) await sleeper();
      expect(turns).not.toHaveBeenCalled();
      const waker = await repeating(20);
      for (let i = 0; i < 5_000 && turns.mock.calls.length <= 20; i++) await waker();
      expect(turns.mock.calls.length).toBeGreaterThan(20);
    },
  );

  it('is ended when its client does not read', async () => {
    const large = 'x'.repeat(8 << 20);
    const port = await serve(async () => ({ status: 200, type: 'text/plain', body: large }), {
      requestWithinMs: 40,
      idleMs: 80,
    });
    const socket = connect(port, '127.0.0.1');
    closers.push(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.pause();
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    socket.write(POST.repeat(4));
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    // Only reading shows a close: what the kernel holds already comes out first.
    setTimeout(() => socket.resume(), 300);
    await closed;
    expect(socket.bytesRead).toBeLessThan(4 * large.length);
  });

  it('can not fill the memory with requests ahead of their answers', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const port = await serve(async (request) => {
      await held;
      return echo(request);
    });
    const socket = connect(port, '127.0.0.1');
    closers.push(() => socket.destroy());
    socket.on('error', () => undefined);
    const flood = Buffer.alloc(32 << 20, POST);
    socket.write(flood);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(socket.bytesWritten - socket.writableLength).toBeLessThan(flood.length);
    release();
  });
});

/** A request whose body has `length` bytes, of which `sent` are written now. */
const large = (length: number, sent = length): Buffer =>
  Buffer.concat([
    Buffer.from(`POST /l HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n`),
    Buffer.alloc(sent, 'a'),
  ]);

describe('the memory of all connections together', () => {
  const short: Handler = async ({ body }) => ({ status: 200, type: 'text/plain', body: `${body.length}` });

  /** Resolves with the open connection when the server has read what it was sent. */
  async function halfSent(port: number, budget: BodyBudget, length: number, sent: number) {
    const socket = connect(port, '127.0.0.1');
    closers.push(() => socket.destroy());
    socket.write(large(length, sent));
    await expect.poll(() => refuses(budget, 100 << 10)).toBe(true);
    return socket;
  }
  const refuses = (budget: BodyBudget, bytes: number): boolean => {
    try {
      budget.claim(bytes);
      budget.count(-bytes);
      return false;
    } catch {
      return true;
    }
  };

  it('refuses a large request while others fill it, answers small ones, and comes back with the answer', async () => {
    const budget = new BodyBudget(340 << 10);
    const port = await serve(short, undefined, budget);
    const first = await halfSent(port, budget, 400 << 10, 350 << 10);
    const refused = await dialogue(port, (socket) => socket.write(large(200 << 10)));
    expect(refused).toMatch(/^HTTP\/1.1 503 .*"code":"OVERLOADED","fix":"Send it again/s);
    expect(await dialogue(port, (socket) => socket.write(LAST))).toMatch(/^HTTP\/1.1 200 /);
    const answered = new Promise<string>((resolve) => first.once('data', (said) => resolve(String(said))));
    first.write(Buffer.alloc(50 << 10, 'a'));
    expect(await answered).toMatch(/\r\n\r\n409600$/);
    await expect.poll(() => refuses(budget, 300 << 10)).toBe(false);
    expect(await dialogue(port, (socket) => socket.write(large(200 << 10)))).toMatch(/204800$/);
  });

  it('comes back from a client that goes away in the middle', async () => {
    const budget = new BodyBudget(340 << 10);
    const port = await serve(short, undefined, budget);
    (await halfSent(port, budget, 400 << 10, 350 << 10)).destroy();
    await expect.poll(() => refuses(budget, 300 << 10)).toBe(false);
  });

  it('does not fill with answers that a client asks for and does not read', async () => {
    let asked = 0;
    const answer = 'x'.repeat(4 << 20);
    const port = await serve(async () => ({ status: 200, type: 'text/plain', body: `${++asked}${answer}` }));
    const socket = connect(port, '127.0.0.1');
    closers.push(() => socket.destroy());
    socket.pause();
    socket.write(POST.repeat(20) + LAST);
    await expect.poll(() => asked).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(asked).toBeLessThan(5);
    let last = '';
    socket.on('data', (part) => (last = part.toString('latin1')));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.resume();
    await closed;
    expect(asked).toBe(21);
    expect(last.endsWith('xxx')).toBe(true);
  });
});

describe('a Unix socket', () => {
  it('serves, is for this user and group, and is taken over from a process that was killed', async () => {
    const path = join(dir, 'api.sock');
    const first = await openHttpServer(echo, { socket: path }, new BodyBudget());
    closers.push(() => first.close());
    expect(statSync(path).mode & 0o777).toBe(0o660);
    expect(await dialogue(path, (socket) => socket.write(LAST))).toMatch(/GET \/b $/);
    await expect(openHttpServer(echo, { socket: path }, new BodyBudget())).rejects.toMatchObject({
      code: 'PORT_IN_USE',
    });
    await first.close();
    expect(existsSync(path)).toBe(false);
  });

  it('never replaces a file that is no socket', async () => {
    const path = join(dir, 'notes.txt');
    writeFileSync(path, 'mine');
    await expect(openHttpServer(echo, { socket: path }, new BodyBudget())).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    expect(statSync(path).size).toBe(4);
  });
});
