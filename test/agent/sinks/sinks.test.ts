/** Sinks over real sockets, brokers and pipes; and predictions that go on whatever they do. */
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { openSinks } from '../../../agent/src/cli/open-sinks.ts';
import { parseYaml } from '../../../agent/src/cli/yaml-file.ts';
import { parseConfig } from '../../../agent/src/config/parse.ts';
import { messageFilter } from '../../../agent/src/sinks/filter.ts';
import type { Sink, SinkMessage } from '../../../agent/src/sinks/port.ts';
import { runSinks } from '../../../agent/src/sinks/run-sinks.ts';
import { topicOf } from '../../../agent/src/sinks/topic-template.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { startAedes } from '../../contracts/local-broker.ts';
import { message } from '../../contracts/sink.contract.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const folder = () => {
  const path = mkdtempSync(join(tmpdir(), 'skein-sink-'));
  closers.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
};
const configured = (...sinks: Record<string, unknown>[]) => {
  const text = JSON.stringify({ sinks: sinks.map((sink, i) => ({ name: `out${i}`, ...sink })) });
  const parts = { clock: systemClock, entropy: systemEntropy, boot: 'b0' };
  return openSinks(parseConfig(parseYaml(text, 'agent.yaml'), {}).sinks, undefined, parts);
};
function open(sink: Record<string, unknown>, said: string[] = []): Sink {
  const opened = configured(sink)[0]!.open((error) => said.push(error.message));
  closers.push(() => opened.stop());
  opened.start();
  return opened;
}

interface Got {
  headers: IncomingHttpHeaders;
  body: string;
}
async function receiver(statuses: (number | [number, Record<string, string>])[] = []) {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      got.push({ headers: request.headers, body });
      const [status, headers] = [statuses.shift() ?? 204].flat() as [number, Record<string, string>?];
      response.writeHead(status, headers).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { got, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook` };
}

describe('a webhook', () => {
  it.each([
    ['plain text', 'hush', Buffer.from('hush')],
    [
      'a Standard Webhooks secret',
      `whsec_${Buffer.from('binary\0key').toString('base64')}`,
      Buffer.from('binary\0key'),
    ],
  ])('is signed with %s, so that its receiver can check body, time and id', async (_, secret, key) => {
    const file = join(folder(), 'secret');
    writeFileSync(file, `${secret}\n`);
    const { got, url } = await receiver();
    open({ kind: 'webhook', url, secret: file }).offer(message(3));
    await expect.poll(() => got.length).toBe(1);
    const { headers, body } = got[0]!;
    expect(JSON.parse(body)).toEqual(message(3));
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    expect(headers['webhook-signature']).toBe(
      `v1,${createHmac('sha256', key).update(signed).digest('base64')}`,
    );
    expect(Math.abs(Number(headers['webhook-timestamp']) * 1000 - Date.now())).toBeLessThan(20_000);
  });

  it('is sent again under the same id after 503 and 429, and never after 400 or a redirect', async () => {
    const { got, url } = await receiver([503, 429, 200, 400, [302, { location: '/x' }], 200]);
    const said: string[] = [];
    const sink = open({ kind: 'webhook', url }, said);
    for (let i = 0; i < 4; i += 1) sink.offer(message(i));
    await expect.poll(() => got.length, { timeout: 15_000 }).toBe(6);
    expect(got.map(({ body }) => (JSON.parse(body) as SinkMessage).label)).toEqual([
      'l0',
      'l0',
      'l0',
      'l1',
      'l2',
      'l3',
    ]);
    expect(new Set(got.slice(0, 3).map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    await expect.poll(() => sink.counts()).toMatchObject({ delivered: 2, failed: 2, queued: 0 });
    expect(said.map((line) => line.replace(url, 'URL'))).toEqual([
      'URL: status 503',
      'URL: status 429',
      'URL: status 400',
      'URL: it sends on to /x',
    ]);
  });

  it('says that nobody answered in time, or that its secret cannot be read', async () => {
    const silent = createTcp(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    closers.push(() => silent.close());
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
    const said: string[] = [];
    const sink = open({ kind: 'webhook', url, timeout: '100ms' }, said);
    sink.offer(message(0));
    await expect.poll(() => said[0]).toBe(`${url}: no answer within 100 ms`);
    await sink.stop();
    const unread: string[] = [];
    open({ kind: 'webhook', url, secret: '/nowhere/secret' }, unread).offer(message(0));
    await expect.poll(() => unread[0]).toMatch(/cannot use \/nowhere\/secret: ENOENT/);
  });
});

describe('a topic of a broker', () => {
  it('is made of the message, without what would change its levels', () => {
    const odd = { ...message(1), label: 'a/b+ #c', model: 'm' };
    expect(topicOf('x/{device}/{model}/{source}/{version}/{label}', odd)).toBe('x/d-1/m/cam/1.0.0/a_b___c');
  });

  it('gets what waited as soon as the broker is there', async () => {
    const first = await startAedes();
    await first.close();
    const sink = open({ kind: 'mqtt', url: first.url, topic: 'out/{label}', qos: 1 });
    for (let i = 0; i < 3; i += 1) sink.offer(message(i));
    await expect.poll(() => sink.counts().problem).toMatch(/ECONNREFUSED|not connected/);
    const broker = await startAedes({ port: first.port });
    closers.push(() => broker.close());
    const topics: string[] = [];
    broker.onPublish((topic) => topics.push(topic));
    await expect.poll(() => topics, { timeout: 15_000 }).toEqual(['out/l0', 'out/l1', 'out/l2']);
  });
});

describe('a command as a sink', () => {
  it('is started again when it ends, and says what it said last', async () => {
    const path = join(folder(), 'out');
    const said: string[] = [];
    const sink = open({ kind: 'command', command: `head -n 1 >> ${path}; echo "full up" >&2; exit 9` }, said);
    sink.offer(message(0));
    await expect
      .poll(() => said[0], { timeout: 10_000 })
      .toMatch(/^the command ended with exit code 9: full up; it is started again in \d\.\d s$/);
    sink.offer(message(1));
    await expect
      .poll(() => readFileSync(path, 'utf8').trim().split('\n').length, { timeout: 10_000 })
      .toBeGreaterThan(1);
  });
});

describe('a filter', () => {
  const seen = (only: 'all' | 'alarms' | 'changes', model?: string) => {
    const wants = messageFilter({ only, model });
    const words: [string, string, 0 | 1][] = [
      ['a', 'ok', 0],
      ['b', 'ok', 0],
      ['a', 'ok', 0],
      ['a', 'hot', 1],
      ['a', 'hot', 1],
      ['b', 'ok', 0],
      ['a', 'ok', 0],
    ];
    return words.flatMap(([source, label, alarm], i) =>
      wants({ ...message(i), source, label, alarm }) ? [i] : [],
    );
  };

  it('lets by all, alarms, or what differs from the one before of its source', () => {
    expect(seen('all')).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(seen('alarms')).toEqual([3, 4]);
    expect(seen('changes')).toEqual([0, 1, 3, 6]);
    expect(seen('all', 'other')).toEqual([]);
    expect(seen('changes', 'm')).toEqual([0, 1, 3, 6]);
  });
});

describe('the configuration of a sink', () => {
  const parse = (sink: string) =>
    parseConfig(parseYaml(`sinks:\n  - {name: s, ${sink}}\n`, 'agent.yaml'), {});

  it.each([
    ['kind: mqtt, url: "mqtt://h"', 'agent.yaml:2: sinks.0: a sink of kind mqtt needs `topic`'],
    ['kind: mqtt, url: "mqtt://h", topic: "a/+"', 'sinks.0.topic: “+” cannot stand in it'],
    ['kind: mqtt, url: "mqtt://h", topic: "a/{lable}"', 'sinks.0.topic: “{lable}” cannot stand in it'],
    ['kind: webhook', 'a sink of kind webhook needs `url`'],
    ['kind: webhook, url: "mqtt://h"', 'sinks.0.url: must begin with http:// or https://'],
    ['kind: webhook, url: "https://u:p@h/x"', 'sinks.0.url: must not hold a user or password'],
    ['kind: webhook, url: "http://h", topic: a', 'sinks.0.topic: does nothing for a sink of kind webhook'],
    ['kind: command, command: x, secret: f', 'sinks.0.secret: does nothing for a sink of kind command'],
    ['kind: command, command: x, only: some', 'sinks.0.only: must be one of all, alarms, changes'],
    ['kind: command, command: x, queue: 0', 'sinks.0.queue: must be >= 1'],
    ['kind: kafka', 'sinks.0.kind: must be one of mqtt, webhook, command'],
  ])('that cannot work says where and what: %s', (text, words) => {
    expect(() => parse(text)).toThrow(words);
  });
});

describe('predictions', () => {
  it('go on, all of them and in the same memory, past three sinks that take nothing', async () => {
    const silent = createTcp((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    closers.push(() => silent.close());
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    const sinks = runSinks(
      configured(
        { kind: 'webhook', url: `http://127.0.0.1:${(silent.address() as AddressInfo).port}/` },
        { kind: 'mqtt', url: 'mqtt://127.0.0.1:1', topic: 'a' },
        { kind: 'command', command: 'exec sleep 300' },
      ),
      { clock: systemClock, log, device: 'd', incidents: { raise() {}, clear() {}, open: () => [] } },
    );
    sinks.start();
    closers.push(() => sinks.stop());
    const record = (i: number): PredictionRecord => ({ ...message(i), mono: i, boot: 'b' }) as never;
    const outcome = { label: 'l', score: 1, alarm: 0 as const, charts: {} };
    const run = async (count: number) => {
      for (let i = 0; i < count; i += 1) {
        sinks.prediction(record(i), outcome);
        if (i % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await run(50_000);
    const before = process.memoryUsage().rss;
    await run(300_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
    for (const { delivered, dropped, failed, queued } of sinks.status()) {
      expect(queued).toBeLessThanOrEqual(1_064);
      expect(delivered + dropped + failed + queued).toBe(350_000);
      expect(dropped).toBeGreaterThan(340_000);
    }
  });
});
