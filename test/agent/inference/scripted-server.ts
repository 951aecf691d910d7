/**
 * An inference server that does what the test says. It serves y = 2·x of two values under whatever name was loaded; each
 * answer can be replaced. Over loopback on a free port.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Call {
  path: string;
  name: string;
  body: Buffer;
}
export type Answer = (call: Call, response: ServerResponse) => void;

export const json =
  (status: number, value: unknown): Answer =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
/** Accepts the request and never says a word. */
export const silence: Answer = () => undefined;
export const hangUp: Answer = (_, response) => void response.destroy();
export const endless: Answer = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  const more = () => {
    while (response.write(' '.repeat(65_536)));
    response.once('drain', more);
  };
  more();
};

export interface Shown {
  outputs?: unknown[];
  bytes?: Uint8Array;
  headers?: Record<string, string>;
  about?: Record<string, unknown>;
}
/** An infer answer whose parts can be wrong. */
export const outputs =
  ({ outputs: list, bytes, headers = {}, about = {} }: Shown = {}): Answer =>
  ({ name, body }, response) => {
    const doubled = new Float32Array(2);
    const view = new DataView(body.buffer, body.byteOffset + body.length - 8, 8);
    for (let i = 0; i < 2; i++) doubled[i] = 2 * view.getFloat32(4 * i, true);
    const y = { name: 'y', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } };
    const head = Buffer.from(
      JSON.stringify({ model_name: name, model_version: '1', ...about, outputs: list ?? [y] }),
    );
    const all = { 'inference-header-content-length': String(head.length), ...headers };
    response.writeHead(200, all).end(Buffer.concat([head, bytes ?? new Uint8Array(doubled.buffer)]));
  };

export interface ScriptedServer {
  url: string;
  calls: Call[];
  /** Replaced at will; taken at each request. */
  on: Record<'facts' | 'live' | 'index' | 'load' | 'unload' | 'metadata' | 'infer', Answer>;
  close(): Promise<void>;
}

const ROUTES: [RegExp, keyof ScriptedServer['on']][] = [
  [/^\/v2$/, 'facts'],
  [/^\/v2\/health\/live$/, 'live'],
  [/^\/v2\/repository\/index$/, 'index'],
  [/^\/v2\/repository\/models\/([^/]+)\/load$/, 'load'],
  [/^\/v2\/repository\/models\/([^/]+)\/unload$/, 'unload'],
  [/^\/v2\/models\/([^/]+)$/, 'metadata'],
  [/^\/v2\/models\/([^/]+)\/infer$/, 'infer'],
];

export async function scriptedServer(sha256: string): Promise<ScriptedServer> {
  const tensor = (name: string) => ({ name, datatype: 'FP32', shape: [-1, 2] });
  const calls: Call[] = [];
  const on: ScriptedServer['on'] = {
    facts: json(200, { name: 'scripted', version: '1', extensions: [], skein: { target: 't1', sdk: '4.2' } }),
    live: json(200, { live: true }),
    index: json(200, []),
    load: json(200, { state: 'READY', sha256 }),
    unload: json(200, {}),
    metadata: (call, response) =>
      json(200, {
        name: call.name,
        versions: ['1'],
        platform: 'p',
        inputs: [tensor('x')],
        outputs: [tensor('y')],
      })(call, response),
    infer: outputs(),
  };
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = request.url ?? '';
    for (const [pattern, what] of ROUTES) {
      const match = pattern.exec(path);
      if (!match) continue;
      const call = { path, name: match[1] ?? '', body: Buffer.concat(chunks) };
      calls.push(call);
      return on[what](call, response);
    }
    response.writeHead(404).end();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    on,
    close: () =>
      new Promise<void>((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
