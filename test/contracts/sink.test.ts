/** Every adapter of the sink port against the same contract, and against peers that take nothing. */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { openSinks } from '../../agent/src/cli/open-sinks.ts';
import { parseYaml } from '../../agent/src/cli/yaml-file.ts';
import { parseConfig } from '../../agent/src/config/parse.ts';
import type { Sink, SinkMessage } from '../../agent/src/sinks/port.ts';
import { systemClock, systemEntropy } from '../../agent/src/system-clock.ts';
import { mosquitto, startAedes, startLocalMosquitto } from './local-broker.ts';
import { describeSink, QUEUE_LIMIT } from './sink.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-sinks-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** As the agent opens it: from configuration. */
function open(sink: Record<string, unknown>): Sink {
  const text = JSON.stringify({ sinks: [{ name: 'out', queue: QUEUE_LIMIT, ...sink }] });
  const config = parseConfig(parseYaml(text, 'agent.yaml'), {});
  const parts = { clock: systemClock, entropy: systemEntropy, boot: 'b' };
  return openSinks(config.sinks, undefined, parts)[0]!.open(() => {});
}

async function listening(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return { url: `http://127.0.0.1:${port}/hook`, close };
}

describeSink('an MQTT topic (aedes)', async () => {
  const broker = await startAedes();
  const received: SinkMessage[] = [];
  broker.onPublish((_, payload) => received.push(JSON.parse(String(payload)) as SinkMessage));
  const sink = open({ kind: 'mqtt', url: broker.url, topic: 'out/{model}/{label}', qos: 1 });
  return { sink, received: () => received, breakPeer: broker.close, dispose: broker.close };
});

if (mosquitto)
  describeSink('an MQTT topic (mosquitto)', async () => {
    const broker = await startLocalMosquitto();
    const { connectAsync } = await import('mqtt');
    const client = await connectAsync(broker.url, { protocolVersion: 4, reconnectPeriod: 0 });
    client.on('error', () => {});
    const received: SinkMessage[] = [];
    client.on('message', (_, payload) => received.push(JSON.parse(String(payload)) as SinkMessage));
    await client.subscribeAsync('out/#');
    let gone = false;
    const stop = async () => {
      if (!gone) await broker.stop();
      gone = true;
      client.end(true);
    };
    const sink = open({ kind: 'mqtt', url: broker.url, topic: 'out/{source}' });
    return { sink, received: () => received, breakPeer: stop, dispose: stop };
  });

describeSink(
  'a broker that takes connections and nothing else',
  async () => {
    const sockets = new Set<Socket>();
    const server = createTcp((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const sink = open({ kind: 'mqtt', url: `mqtt://127.0.0.1:${port}`, topic: 'a' });
    const dispose = () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    };
    return { sink, received: () => [], breakPeer: () => {}, dispose };
  },
  { peerless: true },
);

const taking =
  (received: SinkMessage[]): RequestListener =>
  (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push(...([JSON.parse(String(Buffer.concat(chunks)))].flat() as SinkMessage[]));
      response.end('thanks');
    });
  };

for (const batch of [1, 8])
  describeSink(`a webhook, ${batch} at once`, async () => {
    const received: SinkMessage[] = [];
    const { url, close } = await listening(taking(received));
    return {
      sink: open({ kind: 'webhook', url, batch }),
      received: () => received,
      breakPeer: close,
      dispose: close,
    };
  });

describeSink(
  'a webhook that never answers',
  async () => {
    const { url, close } = await listening(() => {});
    return { sink: open({ kind: 'webhook', url }), received: () => [], breakPeer: () => {}, dispose: close };
  },
  { peerless: true },
);

describeSink('a command', () => {
  const path = join(mkdtempSync(join(folder, 'c-')), 'lines');
  writeFileSync(path, '');
  const stop = `${path}.stop`;
  const sink = open({ kind: 'command', command: `[ -e ${stop} ] && exit 3; exec cat >> ${path}` });
  return {
    sink,
    received: () => lines(path),
    breakPeer: () => appendFileSync(stop, ''),
    dispose: () => {},
  };
});

const lines = (path: string): SinkMessage[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as SinkMessage)
    : [];

describeSink(
  'a command that never reads',
  () => ({
    sink: open({ kind: 'command', command: 'exec sleep 300' }),
    received: () => [],
    breakPeer: () => {},
    dispose: () => {},
  }),
  { peerless: true },
);
