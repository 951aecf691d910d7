import { execFileSync } from 'node:child_process';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { HttpProblem, type HttpRequest, MAX_BODY } from '@skein/agent/api/http-head.ts';
import { MAX_HEAD, RequestReader } from '@skein/agent/api/http-message.ts';
import { describe, expect, it } from 'vitest';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Everything that comes out when `text` comes in pieces of `size`. */
function read(text: string | Buffer, size = Number.POSITIVE_INFINITY): HttpRequest[] {
  const all = typeof text === 'string' ? bytes(text) : text;
  const reader = new RequestReader();
  const found: HttpRequest[] = [];
  for (let at = 0; at < all.length; at += size) {
    reader.push(all.subarray(at, Math.min(all.length, at + size)));
    for (let next = reader.next(); next; next = reader.next()) found.push(next);
  }
  return found;
}

const status = (text: string): number | undefined => {
  try {
    read(text);
    return undefined;
  } catch (error) {
    return (error as HttpProblem).status;
  }
};

const GET = 'GET /v2 HTTP/1.1\r\nHost: a\r\n';

describe('a request', () => {
  const posted =
    'POST /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A:  one \r\nx-a: two\r\n\r\nhello';

  it.each([1, 2, 7, 1000])('is the same whether it comes whole or in pieces of %d bytes', (size) => {
    const [first, second, ...more] = read(`\r\n${posted}${GET}Connection: close\r\n\r\n`, size);
    expect(more).toEqual([]);
    expect(first).toMatchObject({ method: 'POST', target: '/x?y=1', keepAlive: true });
    expect(Buffer.from(first!.body).toString()).toBe('hello');
    expect(first!.headers.get('x-a')).toBe('one, two');
    expect(second).toMatchObject({ method: 'GET', target: '/v2', keepAlive: false });
  });

  it('may come in chunks with extensions and trailers', () => {
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
    const body = '4;name="v"\r\nwiki\r\n5\r\npedia\r\n000\r\nTrailer: x\r\n\r\n';
    for (const size of [1, 3, 1000]) {
      const [whole, next] = read(`${head}${body}${GET}\r\n`, size);
      expect(Buffer.from(whole!.body).toString()).toBe('wikipedia');
      expect(next!.target).toBe('/v2');
    }
  });

  it('with the same head as the one before it is read alike, whatever comes behind', () => {
    const head = 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n';
    for (const size of [1, 3, 1000]) {
      const found = read(`${head}ab${head}cd${GET}\r\n${head}ef`, size);
      expect(found.map(({ target, body }) => `${target} ${Buffer.from(body)}`)).toEqual([
        ...['/x ab', '/x cd', '/v2 ', '/x ef'],
      ]);
    }
    expect(status(`${head}ab${head.replace('Length: 2', 'Length: x')}cd`)).toBe(400);
  });

  it('is read alike whether it comes alone, in pieces or with others, after one with the same head', () => {
    const head = 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n';
    const pieces = [
      `${head}ab`,
      `${head}cd`,
      `${head}e`,
      'f',
      `${head}gh${head}ij`,
      `${GET}\r\n`,
      `${GET}\r\n`,
    ];
    const reader = new RequestReader();
    const found = pieces.map((piece) => {
      reader.push(bytes(piece));
      const bodies: string[] = [];
      for (let next = reader.next(); next; next = reader.next())
        bodies.push(`${next.target} ${Buffer.from(next.body).toString()}`);
      return bodies;
    });
    expect(found).toEqual([['/x ab'], ['/x cd'], [], ['/x ef'], ['/x gh', '/x ij'], ['/v2 '], ['/v2 ']]);
    expect(reader.underWay).toBe(false);
  });

  it('keeps the connection as its version says', () => {
    expect(read('GET / HTTP/1.0\r\n\r\n')[0]!.keepAlive).toBe(false);
    expect(read('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')[0]!.keepAlive).toBe(true);
    expect(read(`${GET}Connection: foo, Close\r\n\r\n`)[0]!.keepAlive).toBe(false);
  });

  it('may name its host in the request line', () => {
    expect(read('GET http://a:1/v2?q HTTP/1.1\r\nHost: a\r\n\r\n')[0]!.target).toBe('/v2?q');
  });

  it('tells once that a body is waited for', () => {
    const reader = new RequestReader();
    reader.push(bytes('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n'));
    expect(reader.next()).toBeUndefined();
    expect([reader.takeExpectation(), reader.takeExpectation()]).toEqual([true, false]);
    reader.push(bytes('ok'));
    expect(Buffer.from(reader.next()!.body).toString()).toBe('ok');
    expect(reader.underWay).toBe(false);
  });
});

describe('what is refused', () => {
  it.each([
    ['a bare line feed', 'GET / HTTP/1.1\nHost: a\n\n\r\n\r\n', 400],
    ['another protocol', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 400],
    ['a space in the target', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['no target', 'GET HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two hosts', `${GET}Host: b\r\n\r\n`, 400],
    ['a space before the colon', `${GET}A : b\r\n\r\n`, 400],
    ['a folded line', `${GET}A: b\r\n c\r\n\r\n`, 400],
    ['a field without a name', `${GET}: b\r\n\r\n`, 400],
    ['a control character', `${GET}A: b\0c\r\n\r\n`, 400],
    ['a carriage return in a value', `${GET}A: b\rc\r\n\r\n`, 400],
    ['two lengths', `${GET}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`, 400],
    ['a list of lengths', `${GET}Content-Length: 1, 1\r\n\r\nx`, 400],
    ['a signed length', `${GET}Content-Length: +1\r\n\r\nx`, 400],
    ['a hexadecimal length', `${GET}Content-Length: 0x1\r\n\r\nx`, 400],
    ['length and chunks', `${GET}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    ['chunks that are not the last coding', `${GET}Transfer-Encoding: chunked, gzip\r\n\r\n`, 501],
    ['chunks in HTTP/1.0', 'GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    ['a chunk without a size', `${GET}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
    ['a chunk with a sign', `${GET}Transfer-Encoding: chunked\r\n\r\n-1\r\n`, 400],
    ['a chunk longer than it says', `${GET}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n`, 400],
    ['a chunk beyond the limit', `${GET}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n`, 413],
    ['an expectation that nobody knows', `${GET}Expect: miracles\r\n\r\n`, 417],
    ['a body beyond the limit', `${GET}Content-Length: ${MAX_BODY + 1}\r\n\r\n`, 413],
    ['a head beyond the limit', `GET /${'a'.repeat(MAX_HEAD)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
    ['a head that never ends', `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(4000)}`, 431],
    ['a size line that never ends', `${GET}Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(999)}`, 400],
  ])('is %s', (_what, text, expected) => {
    expect(status(text)).toBe(expected);
  });
});

/** mulberry32: the same requests from the same seed. */
function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('against Node’s own parser', () => {
  /** What node:http makes of the same bytes: the requests it took, then its status when it refused. */
  async function nodeReads(text: Buffer): Promise<string[]> {
    const seen: string[] = [];
    const server = createServer((message, response) => {
      const parts: Buffer[] = [];
      message.on('data', (part: Buffer) => parts.push(part));
      message.on('end', () => {
        seen.push(`${message.method} ${message.url} ${Buffer.concat(parts).toString('latin1')}`);
        response.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    await new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.end(text));
      socket.on('error', () => resolve());
      socket.resume().on('close', () => resolve());
    });
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    return seen;
  }

  it('never takes a request that Node does not, nor another body', async () => {
    const seed = Number(process.env.SKEIN_SEED ?? 20_261_126);
    const next = random(seed);
    const parts = [
      '\r\n',
      ' ',
      ':',
      'Content-Length: 3\r\n',
      'Transfer-Encoding: chunked\r\n',
      'abc',
      '0\r\n\r\n',
      '\n',
      '\0',
      '1\r\nx\r\n',
    ];
    const base = [
      `${GET}\r\n`,
      'POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc',
      'POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    ];
    for (let round = 0; round < 300; round++) {
      let text = `${base[Math.floor(next() * 3)]}${base[Math.floor(next() * 3)]}`;
      for (let change = 0; change < 1 + next() * 2; change++) {
        const at = Math.floor(next() * text.length);
        const cut = next() < 0.5 ? 1 + Math.floor(next() * 3) : 0;
        text = text.slice(0, at) + parts[Math.floor(next() * parts.length)] + text.slice(at + cut);
      }
      const ours: string[] = [];
      const reader = new RequestReader();
      reader.push(bytes(text));
      try {
        for (let found = reader.next(); found; found = reader.next()) {
          // Node knows a list of methods; here an unknown one is answered 404 or 405 like any other.
          if (found.method !== 'GET' && found.method !== 'POST') break;
          ours.push(`${found.method} ${found.target} ${Buffer.from(found.body).toString('latin1')}`);
          if (!found.keepAlive) break;
        }
      } catch (error) {
        expect(error, `seed ${seed}`).toBeInstanceOf(HttpProblem);
      }
      const theirs = await nodeReads(bytes(text));
      expect(theirs.slice(0, ours.length), `seed ${seed}, round ${round}: ${JSON.stringify(text)}`).toEqual(
        ours,
      );
    }
  }, 60_000);

  it('reads what Node’s client sends', async () => {
    const sent: Buffer[] = [];
    const { createServer: listen } = await import('node:net');
    const server = listen((socket) => {
      socket.on('data', (part) => {
        sent.push(part);
        if (read(Buffer.concat(sent)).length > 0) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    await new Promise<void>((resolve, reject) => {
      const call = request({ port, host: '127.0.0.1', method: 'POST', path: '/c' }, (answer) => {
        answer.resume().on('end', resolve);
      });
      call.on('error', reject);
      call.write('one');
      call.end('two');
    });
    server.close();
    expect(Buffer.from(read(Buffer.concat(sent))[0]!.body).toString()).toBe('onetwo');
  });
});

describe('the memory of a connection', () => {
  const module = new URL('../../../agent/src/api/http-message.ts', import.meta.url);
  const count = 1_500_000;
  it.each([
    [
      'its chunks are',
      'Transfer-Encoding: chunked',
      `const some = Buffer.alloc(60_000, '1\\r\\na\\r\\n');
      for (let sent = 0; sent < ${count}; sent += 10_000) {
        reader.push(some);
        reader.next();
      }
      reader.push(Buffer.from('0\\r\\n\\r\\n'));`,
    ],
    [
      'the pieces are that it comes in',
      `Content-Length: ${count}`,
      `for (let sent = 0; sent < ${count}; sent++) reader.push(Buffer.from('a'));`,
    ],
  ])('is that of a body, however small %s', (_, header, come) => {
    const script = `
      import { RequestReader } from ${JSON.stringify(module.href)};
      const reader = new RequestReader();
      reader.push(Buffer.from('POST / HTTP/1.1\\r\\nHost: x\\r\\n${header}\\r\\n\\r\\n'));
      reader.next();
      ${come}
      console.log(reader.next().body.length);`;
    const flags = ['--max-old-space-size=64', '--input-type=module'];
    expect(Number(execFileSync(process.execPath, [...flags, '-e', script], { encoding: 'utf8' }))).toBe(
      count,
    );
  });

  it('is not kept for the few bytes behind a large request', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const reader = new RequestReader();
    const pushed = (): WeakRef<ArrayBufferLike> => {
      const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n';
      const sent = Buffer.concat([bytes(head), Buffer.alloc(1_000_000), bytes('GET')]);
      reader.push(sent);
      expect(reader.next()!.body.length).toBe(1_000_000);
      return new WeakRef(sent.buffer);
    };
    return new Promise<void>((resolve, reject) => {
      const memory = pushed();
      setImmediate(() => {
        collect();
        try {
          expect(reader.underWay).toBe(true);
          expect(memory.deref()).toBeUndefined();
          resolve();
        } catch (failed) {
          reject(failed as Error);
        }
      });
    });
  });
});
