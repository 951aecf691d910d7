import { STAGE_PATTERN } from '@skein/protocol/rollout.ts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { all, call, requestOf } from '../../../fleet-server/dashboard/src/data/client.ts';
import { retryDelayMs } from '../../../fleet-server/dashboard/src/data/event-stream.ts';
import type { ProblemError } from '../../../fleet-server/dashboard/src/data/problem.ts';
import { signedOut } from '../../../fleet-server/dashboard/src/data/session.ts';
import { SseParser } from '../../../fleet-server/dashboard/src/data/sse.ts';
import { STAGE } from '../../../fleet-server/dashboard/src/rollouts/draft.ts';

const answer = (status: number, body: unknown): Response =>
  new Response(typeof body === 'string' ? body : JSON.stringify(body), { status });

afterEach(() => {
  vi.unstubAllGlobals();
  signedOut.value = false;
});

describe('the dashboard speaks the protocol', () => {
  it('checks stages by the protocol’s own pattern', () => {
    expect(STAGE.source).toBe(STAGE_PATTERN);
  });

  it('escapes ids in paths and leaves empty queries out', () => {
    expect(requestOf('devicePredictions', { params: { id: 'a/b c' }, query: { limit: 5 } })).toEqual({
      method: 'GET',
      url: '/v1/devices/a%2Fb%20c/predictions?limit=5',
    });
    expect(requestOf('drift', { query: { device: '' } }).url).toBe('/v1/drift');
  });
});

describe('failures are told in words', () => {
  const failing = async (status: number, body: unknown): Promise<ProblemError> => {
    vi.stubGlobal('fetch', async () => answer(status, body));
    return call('server').then(
      () => Promise.reject(new Error('it should have failed')),
      (thrown: ProblemError) => thrown,
    );
  };

  it('keeps code, detail and fix of a problem document', async () => {
    const problem = await failing(409, {
      title: 'Conflict',
      detail: 'it is done',
      code: 'CONFLICT',
      fix: 'Wait.',
    });
    expect([problem.code, problem.status, problem.message, problem.fix]).toEqual([
      'CONFLICT',
      409,
      'it is done',
      'Wait.',
    ]);
    expect(signedOut.value).toBe(false);
  });

  it('says something readable when the answer is no problem document', async () => {
    const problem = await failing(502, '<html>bad gateway</html>');
    expect([problem.code, problem.message]).toEqual(['HTTP_502', 'The server answered 502.']);
  });

  it('signs the page out at a 401, but not when a login link is refused', async () => {
    vi.stubGlobal('fetch', async () => answer(401, { code: 'UNAUTHENTICATED', detail: 'no session' }));
    await expect(call('login', { body: { secret: 'x' } })).rejects.toThrow('no session');
    expect(signedOut.value).toBe(false);
    await expect(call('server')).rejects.toThrow('no session');
    expect(signedOut.value).toBe(true);
  });

  it('tells an unreachable server from one that answers', async () => {
    vi.stubGlobal('fetch', async () => {
      throw new TypeError('fetch failed');
    });
    await expect(call('server')).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});

describe('pages of a list', () => {
  it('follows the cursor to the end and stops at its bound', async () => {
    const asked: (string | undefined)[] = [];
    const items = await all(async ({ cursor }) => {
      asked.push(cursor);
      return cursor === 'b' ? { items: [3], next: null } : { items: [1, 2], next: cursor ? 'b' : 'a' };
    });
    expect(items).toEqual([1, 2, 1, 2, 3]);
    expect(asked).toEqual([undefined, 'a', 'b']);
    expect(await all(async () => ({ items: [1], next: 'again' }), 3)).toEqual([1, 1, 1]);
  });
});

describe('the event stream', () => {
  const text =
    ': skein\n\nid: a-1\nevent: state\ndata: {"x":\ndata: 1}\n\nid: a-2\r\nevent: device\r\ndata: {}\r\n\r\ndata: plain\n\n';
  const whole = [
    { type: 'state', data: '{"x":\n1}' },
    { type: 'device', data: '{}' },
    { type: 'message', data: 'plain' },
  ];

  it('is read the same whole and cut anywhere', () => {
    for (let cut = 0; cut <= text.length; cut++) {
      const parser = new SseParser();
      expect([...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))], `cut at ${cut}`).toEqual(
        whole,
      );
      expect(parser.lastEventId).toBe('a-2');
    }
  });

  it('refuses an event without end', () => {
    const parser = new SseParser();
    expect(() => parser.push('x'.repeat((1 << 20) + 1))).toThrow('too long');
  });

  it('waits longer after each failure, never longer than 30 s and a quarter', () => {
    expect([0, 1, 2, 3].map((attempt) => retryDelayMs(attempt, 0.5))).toEqual([1000, 2000, 4000, 8000]);
    expect(retryDelayMs(50, 1)).toBe(37_500);
    expect(retryDelayMs(0, 0)).toBe(750);
  });
});
