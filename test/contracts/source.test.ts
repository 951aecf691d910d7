/** Every adapter of the source port against the same contract. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { openSources } from '../../agent/src/cli/open-sources.ts';
import { parseYaml } from '../../agent/src/cli/yaml-file.ts';
import { parseConfig } from '../../agent/src/config/parse.ts';
import type { Source } from '../../agent/src/sources/port.ts';
import { type PushDoor, pushDoor } from '../../agent/src/sources/push-door.ts';
import { systemClock, systemEntropy } from '../../agent/src/system-clock.ts';
import { mosquitto, startAedes, startLocalMosquitto } from './local-broker.ts';
import { describeSource } from './source.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-sources-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

/** As the agent opens it: from configuration. */
function open(source: Record<string, unknown>, door: PushDoor = pushDoor()): Source {
  const text = JSON.stringify({ sources: [{ name: 'probe', model: 'm', ...source }] });
  const { sources } = parseConfig(parseYaml(text, 'agent.yaml'), {});
  return openSources(sources, undefined, { clock: systemClock, entropy: systemEntropy, door })[0]!.source;
}

const still = { dispose: () => {} };

describeSource('this machine', () => ({ source: open({ kind: 'host', period: '20ms' }), ...still }));

describeSource('a replayed CSV file', () => ({
  source: open({ kind: 'csv', path: file('a.csv', 'a,b\n1,2\n3,4\n'), loop: true, period: '5ms' }),
  ...still,
}));

describeSource('a CSV file in its own time', () => ({
  source: open({
    kind: 'csv',
    path: file('t.csv', 'when,b\n2026-01-01 00:00:00,2\n2026-01-01 00:00:01,4\n2026-01-02 00:00:01,4\n'),
    timeColumn: 'when',
    speed: 100,
  }),
  ...still,
}));

describeSource('JSON lines of a file', () => ({
  source: open({ kind: 'jsonl', path: file('a.jsonl', '{"a":1}\n{"a":2}\n'), loop: true, period: '5ms' }),
  ...still,
}));

describeSource('a command', () => ({
  source: open({
    kind: 'command',
    command: `while :; do echo '{"t":{"v":"1.5"}}'; sleep 0.02; done`,
    values: { v: '$.t.v' },
  }),
  ...still,
}));

describeSource('a command that ends', () => ({
  source: open({ kind: 'command', command: `echo '{"v":1}'; exit 7` }),
  breakPeer: () => {},
  ...still,
}));

describeSource('an MQTT topic (aedes)', async () => {
  const broker = await startAedes();
  return {
    source: open({ kind: 'mqtt', url: broker.url, topic: 'plant/+/temp', qos: 1 }),
    feed: () => broker.publish('plant/a/temp', '{"temp":21.5}'),
    breakPeer: () => broker.close(),
    dispose: () => broker.close(),
  };
});

if (mosquitto)
  describeSource('an MQTT topic (mosquitto)', async () => {
    const broker = await startLocalMosquitto();
    const { connectAsync } = await import('mqtt');
    const client = await connectAsync(broker.url, { protocolVersion: 4, reconnectPeriod: 0 });
    client.on('error', () => {});
    let gone = false;
    return {
      source: open({ kind: 'mqtt', url: broker.url, topic: 'plant/#' }),
      feed: () => void (gone || client.publish('plant/a/temp', '21.5')),
      async breakPeer() {
        gone = true;
        await broker.stop();
      },
      async dispose() {
        client.end(true);
        if (!gone) await broker.stop();
      },
    };
  });

describeSource('readings that are pushed', () => {
  const door = pushDoor();
  return {
    source: open({ kind: 'http' }, door),
    feed: () => void door.push('probe', Buffer.from('[{"a":1},{"a":2}]')),
    ...still,
  };
});

/** Answers every question with the same bytes until it is closed. */
async function serving(body: string | Uint8Array) {
  const server = createServer((_, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return { url: `http://127.0.0.1:${port}/x`, breakPeer: close, dispose: close };
}

describeSource('an address that is polled', async () => {
  const { url, ...rest } = await serving('{"a":{"b":[3]}}');
  return { source: open({ kind: 'http', url, period: '10ms', values: { v: '$.a.b[0]' } }), ...rest };
});

/** One pixel. */
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==',
  'base64',
);

describeSource('snapshots of a camera', async () => {
  const { url, ...rest } = await serving(PNG);
  return { source: open({ kind: 'snapshots', url, period: '10ms' }), ...rest };
});

const pictureFolder = () => {
  const path = mkdtempSync(join(folder, 'pictures-'));
  for (const name of ['a.png', 'b.PNG']) writeFileSync(join(path, name), PNG);
  return path;
};

describeSource('a folder of images', () => {
  const path = pictureFolder();
  return {
    source: open({ kind: 'images', path, period: '10ms', loop: true }),
    breakPeer: () => rmSync(path, { recursive: true }),
    ...still,
  };
});

describeSource('a folder that is watched', () => {
  const path = pictureFolder();
  let next = 0;
  return {
    source: open({ kind: 'images', path, period: '5ms', watch: true }),
    feed: () => writeFileSync(join(path, `c${next++}.png`), PNG),
    ...still,
  };
});

const camera = join(import.meta.dirname, '../agent/sources/write-frames.mjs');
describeSource('frames of a command', () => ({
  source: open({
    kind: 'frames',
    command: `${process.execPath} ${camera}`,
    format: 'rawvideo',
    width: 8,
    height: 8,
    pixels: 'gray8',
  }),
  ...still,
}));
