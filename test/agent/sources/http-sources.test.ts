/** Readings that are pushed through the real local API, and addresses that are polled over real sockets. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openLocalApi } from '../../../agent/src/api/http-local-api.ts';
import { type AskOptions, httpAsk } from '../../../agent/src/sources/http-ask.ts';
import { payloadReader } from '../../../agent/src/sources/payload.ts';
import { pollSource } from '../../../agent/src/sources/poll-source.ts';
import { pushDoor } from '../../../agent/src/sources/push-door.ts';
import { pushSource } from '../../../agent/src/sources/push-source.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';
import { listening } from './listening.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

const read = payloadReader({ maxBytes: 100_000, maxRows: 1_000, mapping: undefined });

async function pushed() {
  const door = pushDoor();
  const api = await openLocalApi({ readings: door } as never, { host: '127.0.0.1', port: 0 });
  let room: Promise<void> | undefined;
  const heard = listening({ room: () => room });
  const source = pushSource({ name: 'line', stallAfterMs: 1_000 }, systemClock, door, read);
  closers.push(
    () => api.close(),
    () => source.stop(),
  );
  const post = async (body: string | Buffer, name = 'line') => {
    const response = await fetch(`${api.url}/v1/readings/${name}`, { method: 'POST', body });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const block = () => {
    let open = (): void => {};
    room = new Promise((resolve) => {
      open = () => {
        room = undefined;
        resolve();
      };
    });
    return open;
  };
  return { source, heard, post, block };
}

describe('readings that are pushed', () => {
  it('come as an object, an array or lines, in order', async () => {
    const { source, heard, post } = await pushed();
    source.start(heard);
    expect(await post('{"a":1}')).toEqual({ status: 202, body: { accepted: 1 } });
    expect(await post('[{"a":2},{"a":3}]')).toMatchObject({ body: { accepted: 2 } });
    expect(await post('{"a":4}\n{"a":5}\n')).toMatchObject({ body: { accepted: 2 } });
    expect(heard.readings.map((r) => r.values.a)).toEqual([1, 2, 3, 4, 5]);
  });

  it('are refused whole when one is wrong, and the sender is told which', async () => {
    const { source, heard, post } = await pushed();
    source.start(heard);
    expect(await post('{"a":1}\n{"a":')).toMatchObject({
      status: 400,
      body: {
        code: 'REQUEST_INVALID',
        error: expect.stringMatching(/line 2: “\{"a":” is not JSON/),
        fix: expect.any(String),
      },
    });
    expect(heard.readings).toEqual([]);
    expect(heard.failures).toMatchObject([{ code: 'SOURCE_INVALID' }]);
  });

  it('are bounded: by bytes, by readings in a body, and by what waits for the model', async () => {
    const { source, heard, post, block } = await pushed();
    source.start(heard);
    expect(await post(Buffer.alloc(17 << 20, 0x20)).catch(() => ({ status: 413 }))).toMatchObject({
      status: 413,
    });
    expect(await post(' '.repeat(100_001))).toMatchObject({ status: 400 });
    expect(await post(`[${Array(1_001).fill('{"a":1}')}]`)).toMatchObject({ status: 400 });
    const unblock = block();
    expect(await post(`[${Array(999).fill('{"a":1}')}]`)).toMatchObject({ status: 202 });
    expect(await post('[{"a":1},{"a":1}]')).toMatchObject({ status: 503, body: { code: 'OVERLOADED' } });
    expect(await post('{"a":1}')).toMatchObject({ status: 202 });
    unblock();
    await heard.until(() => heard.readings.length === 1_000);
  });

  it('have nowhere to go before the source runs, after it stopped, and under another name', async () => {
    const { source, heard, post } = await pushed();
    expect(await post('{"a":1}')).toMatchObject({ status: 404 });
    source.start(heard);
    expect(await post('{"a":1}', 'other')).toMatchObject({
      status: 404,
      body: { fix: expect.stringMatching(/kind: http/) },
    });
    await source.stop();
    expect(await post('{"a":1}')).toMatchObject({ status: 404 });
  });
});

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v`;
}
const ask = (url: string, more: Partial<AskOptions> = {}) =>
  httpAsk({ url, timeoutMs: 5_000, maxBytes: 1_000, ...more }, new AbortController().signal);

describe('an address that is polled', () => {
  it('is asked every period, one question at a time, and more patiently while it fails', async () => {
    const clock = manualClock();
    const asked: number[] = [];
    let wrong = false;
    const heard = listening();
    const source = pollSource(
      { name: 'p', periodMs: 1_000, stallAfterMs: 60_000 },
      { clock, entropy: { bytes: (n) => new Uint8Array(n).fill(0xff) } },
      async () => {
        asked.push(clock.mono());
        if (wrong) throw new Error('gone');
        return [{ values: { a: asked.length } }];
      },
    );
    source.start(heard);
    await clock.advance(2_500);
    expect(asked).toEqual([0, 1_000, 2_000]);
    wrong = true;
    await clock.advance(200_000);
    const gaps = asked.slice(3).map((at, i) => Math.round(at - asked[i + 2]!));
    expect(gaps.slice(0, 7)).toEqual([1000, 1000, 2000, 4000, 8000, 16_000, 30_000]);
    wrong = false;
    await clock.advance(32_000);
    expect(heard.readings.length).toBeGreaterThan(4);
    await source.stop();
    expect(clock.pendingTimers()).toBe(0);
  });

  it('that is slow, huge, elsewhere, forbidden or gone is one failure with the reason', async () => {
    const slow = await serve(() => {});
    const drip = await serve((_, response) => {
      response.write('1');
    });
    const huge = await serve((_, response) => response.end('1'.repeat(2_000)));
    const moved = await serve((_, response) => response.writeHead(302, { location: '/other' }).end());
    const locked = await serve((_, response) => response.writeHead(401).end());
    await expect(ask(slow, { timeoutMs: 100 })).rejects.toThrow('no whole answer within 100 ms');
    await expect(ask(drip, { timeoutMs: 100 })).rejects.toThrow('no whole answer within 100 ms');
    await expect(ask(huge)).rejects.toThrow('longer than 1000 bytes');
    await expect(ask(moved)).rejects.toThrow('it sends on to /other');
    await expect(ask(locked)).rejects.toMatchObject({
      code: 'SOURCE_FAILED',
      fix: expect.stringMatching(/credentials/),
    });
    await expect(ask('http://127.0.0.1:1/')).rejects.toThrow('ECONNREFUSED');
  });

  it('gets the name and password of a file that is read each time', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-poll-'));
    closers.push(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'account');
    const url = await serve((request, response) => response.end(request.headers.authorization));
    writeFileSync(file, 'cam:s:e:c');
    const sent = Buffer.from(await ask(url, { credentials: file })).toString();
    expect(Buffer.from(sent.split(' ')[1]!, 'base64').toString()).toBe('cam:s:e:c');
    writeFileSync(file, 'no colon');
    await expect(ask(url, { credentials: file })).rejects.toThrow(/not one line `user:password`/);
  });

  it('is let go of at once when stopped, in the middle of an answer', async () => {
    const url = await serve((_, response) => void response.write('{'));
    const heard = listening();
    const source = pollSource(
      { name: 'p', periodMs: 10, stallAfterMs: 60_000 },
      { clock: systemClock, entropy: systemEntropy },
      async (stopped) => read(await httpAsk({ url, timeoutMs: 60_000, maxBytes: 99 }, stopped), 'p'),
    );
    source.start(heard);
    await source.stop();
    expect(heard.failures).toEqual([]);
  });
});
