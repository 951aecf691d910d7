import { EventEmitter } from 'node:events';
import { createApiClient } from '@skein/fleet-server/cli/client.ts';
import type { StreamEvent } from '@skein/fleet-server/cli/server-sent-events.ts';
import { parseServerSentEvents } from '@skein/fleet-server/cli/server-sent-events.ts';
import { createEventHub } from '@skein/fleet-server/http/event-stream.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EnrolledDevice, putTestRoots, startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;
let device: EnrolledDevice;

beforeAll(async () => {
  server = await startTestServer();
  await putTestRoots(server);
  device = await server.enrol();
});
afterAll(() => server.close());

const open = async (lastEventId?: string) => {
  const abort = new AbortController();
  const response = await fetch(`http://127.0.0.1:${server.running.ports.http}/v1/events`, {
    headers: {
      authorization: `Bearer ${server.keys.viewer}`,
      ...(lastEventId ? { 'last-event-id': lastEventId } : {}),
    },
    signal: abort.signal,
  });
  const events = parseServerSentEvents(response.body!)[Symbol.asyncIterator]();
  const next = async (type: string): Promise<StreamEvent> => {
    for (;;) {
      const { value } = await events.next();
      if ((value as StreamEvent).type === type) return value as StreamEvent;
    }
  };
  return { next, close: () => abort.abort() };
};
const publish = async (payloads: object[]) => {
  const client = await device.connect();
  for (const payload of payloads) {
    await client.mqtt.publishAsync(`skein/v1/home/${device.device}/state`, JSON.stringify(payload), {
      qos: 1,
    });
  }
  await client.mqtt.endAsync();
};
const tsOf = (event: StreamEvent) => (event.data as { state: { ts: number } }).state.ts;

describe('the event stream', () => {
  it('carries what devices say, as it comes', async () => {
    const stream = await open();
    await publish([{ ts: 1, score: 0.5 }]);
    expect((await stream.next('state')).data).toEqual({
      device: device.device,
      state: { ts: 1, score: 0.5 },
    });
    stream.close();
  });

  it('gives a client that comes back with Last-Event-ID what it missed, once and in order', async () => {
    const first = await open();
    await publish([{ ts: 10 }]);
    const last = await first.next('state');
    first.close();
    await publish([{ ts: 11 }, { ts: 12 }, { ts: 13 }]);
    const second = await open(last.id);
    const missed = [await second.next('state'), await second.next('state'), await second.next('state')];
    expect(missed.map(tsOf)).toEqual([11, 12, 13]);
    second.close();
  });

  it('says reset when the place is gone, as after a restart', async () => {
    const stream = await open('deadbeef-1');
    expect((await stream.next('reset')).data).toEqual({});
    stream.close();
  });

  it('says reset to who was away when something had to be forgotten', async () => {
    const hub = createEventHub();
    const written: string[] = [];
    const raw = Object.assign(new EventEmitter(), {
      writableLength: 0,
      writeHead: () => raw,
      write: (text: string) => void written.push(text),
      end: () => {},
    });
    const serve = (id?: string) =>
      hub.serve({ headers: id ? { 'last-event-id': id } : {}, reply: { raw, hijack: () => {} } as never });
    await serve();
    hub.publish('state', { device: 'd-1', state: { ts: 1 } as never });
    hub.publish('state', { device: 'd-2', state: { ts: 2 } as never });
    const last = /id: (\S+)/.exec(written.at(-1)!)![1]!;
    hub.forget();
    expect(written.at(-1)).toContain('event: reset');
    await serve(last);
    expect(written.at(-1)).toContain('event: reset');
    expect(written.at(-1)).not.toContain('d-2');
    hub.close();
  });

  it('needs a key', async () => {
    const answer = await fetch(`http://127.0.0.1:${server.running.ports.http}/v1/events`);
    expect(answer.status).toBe(401);
  });

  it('is followed by the client of the command line', async () => {
    const api = createApiClient({ url: server.running.url, key: server.keys.viewer });
    const stop = new AbortController();
    const got: number[] = [];
    const following = (async () => {
      for await (const event of api.events(stop.signal)) {
        if (event.type === 'state') got.push(tsOf(event));
        if (got.length === 1) return;
      }
    })();
    await publish([{ ts: 20 }]);
    await following;
    stop.abort();
    expect(got).toEqual([20]);
  });
});
