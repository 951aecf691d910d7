/**
 * A reference sidecar: what an accelerator's program must answer so that the agent can run models on it. README.md beside
 * this file describes the wire for other languages.
 *
 *   node agent/examples/sidecar/sidecar.ts unix:/run/example.sock
 *   node agent/examples/sidecar/sidecar.ts 127.0.0.1:8600 --target hailo8l --sdk 4.20.0
 *
 * Bounds: 64 MiB an inference, 512 MiB a model, 32 models, 16 inferences waiting; beyond them it refuses with 413 or 503.
 */
import { existsSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import { type LoadedFile, loadBytes, loadFile, SDK, TARGET } from './models.ts';
import { Refusal, readInputs, writeOutputs } from './wire.ts';

const MAX_BODY = 64 << 20;
/** Base64 of 512 MiB, and the words around it. */
const MAX_LOAD = 700 << 20;
const MAX_MODELS = 32;
const MAX_WAITING = 16;
/** A load that takes longer is answered 202 and goes on; the agent asks again. */
const ANSWER_WITHIN_MS = 500;
const VERSION = '1';

interface Entry {
  asked: string;
  loading: Promise<LoadedFile>;
  file?: LoadedFile;
  failed?: unknown;
}

export interface SidecarOptions {
  /** `unix:/path` or `127.0.0.1:PORT`; port 0 picks one. */
  address: string;
  target?: string;
  sdk?: string;
}

export interface Sidecar {
  /** As the agent's configuration wants it. */
  url: string;
  close(): Promise<void>;
}

class Models {
  readonly #entries = new Map<string, Entry>();
  #waiting = 0;
  #line: Promise<unknown> = Promise.resolve();

  /** 200 when it is loaded, 202 while it is at work; asking again for the same file starts nothing. */
  async load(name: string, parameters: Record<string, unknown>): Promise<[number, object]> {
    const asked = JSON.stringify(parameters);
    const before = this.#entries.get(name);
    const entry = before?.asked === asked && !before.failed ? before : this.#start(name, asked, parameters);
    await Promise.race([
      entry.loading.catch(() => undefined),
      new Promise((done) => setTimeout(done, ANSWER_WITHIN_MS)),
    ]);
    if (entry.failed) {
      if (this.#entries.get(name) === entry) this.#entries.delete(name);
      throw entry.failed;
    }
    if (!entry.file) return [202, { state: 'COMPILING' }];
    const { sha256 } = entry.file;
    // Not what was asked for: it is told, and the next request reads the file again.
    if (typeof parameters.sha256 === 'string' && parameters.sha256 !== sha256) await this.unload(name);
    return [200, { state: 'READY', sha256, provider: TARGET }];
  }

  #start(name: string, asked: string, parameters: Record<string, unknown>): Entry {
    if (this.#entries.size >= MAX_MODELS && !this.#entries.has(name))
      throw new Refusal(503, 'BACKEND_BUSY', `${MAX_MODELS} models are loaded already`);
    const old = this.#entries.get(name)?.file;
    const entry: Entry = { asked, loading: read(parameters) };
    entry.loading.then(
      (file) => {
        entry.file = file;
        void old?.close();
        // Unloaded while it was loading.
        if (this.#entries.get(name) !== entry) void file.close();
      },
      (error) => {
        entry.failed = error;
      },
    );
    this.#entries.set(name, entry);
    return entry;
  }

  async unload(name: string): Promise<void> {
    const entry = this.#entries.get(name);
    this.#entries.delete(name);
    await this.#line;
    await entry?.file?.close();
  }

  index(): object[] {
    return [...this.#entries].map(([name, { file }]) => ({
      name,
      version: VERSION,
      state: file ? 'READY' : 'LOADING',
      reason: '',
    }));
  }

  /** @throws Refusal 404 */
  file(name: string): LoadedFile {
    const file = this.#entries.get(name)?.file;
    if (!file) throw new Refusal(404, 'NOT_FOUND', `unknown model ${name}`);
    return file;
  }

  /** One at a time: an accelerator is one device. */
  async infer(name: string, body: Buffer, headerLength: number) {
    const file = this.file(name);
    const inputs = readInputs(body, headerLength);
    if (this.#waiting >= MAX_WAITING) throw new Refusal(503, 'BACKEND_BUSY', `${this.#waiting} are waiting`);
    this.#waiting++;
    const turn = this.#line.then(() => file.infer(inputs)).finally(() => this.#waiting--);
    this.#line = turn.catch(() => undefined);
    const outputs = await turn;
    const about = { model_name: name, model_version: VERSION, parameters: { sha256: file.sha256 } };
    return writeOutputs(about, outputs);
  }
}

async function read(parameters: Record<string, unknown>): Promise<LoadedFile> {
  const { path, format = 'onnx', threads = 1 } = parameters;
  if (typeof path === 'string') return loadFile(path, String(format), Number(threads));
  // `load: repository`: the bytes themselves, as Triton takes them.
  const [, sent] = Object.entries(parameters).find(([key]) => key.startsWith('file:')) ?? [];
  if (typeof sent !== 'string')
    throw new Refusal(400, 'REQUEST_INVALID', 'neither `path` nor `file:` is given');
  return loadBytes(Buffer.from(sent, 'base64'), Number(threads));
}

async function bodyOf(request: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > limit) throw new Refusal(413, 'PAYLOAD_TOO_LARGE', `at most ${limit} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

const json = (response: ServerResponse, status: number, value: unknown): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
};

const MODEL = /^\/v2\/models\/([\w.-]{1,128})(\/ready|\/infer)?$/;
const REPOSITORY = /^\/v2\/repository\/models\/([\w.-]{1,128})\/(load|unload)$/;

async function route(
  models: Models,
  server: object,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/v2') return json(response, 200, server);
  if (/^\/v2\/health\/(live|ready)$/.test(pathname)) return json(response, 200, { live: true });
  if (pathname === '/v2/repository/index') return json(response, 200, models.index());
  const [, loadName, action] = REPOSITORY.exec(pathname) ?? [];
  const body = await bodyOf(request, loadName ? MAX_LOAD : MAX_BODY);
  if (loadName && action === 'unload') {
    await models.unload(loadName);
    return json(response, 200, {});
  }
  if (loadName) {
    const asked = JSON.parse(body.toString('utf8') || '{}') as { parameters?: Record<string, unknown> };
    return json(response, ...(await models.load(loadName, asked.parameters ?? {})));
  }
  const [, name, what] = MODEL.exec(pathname) ?? [];
  if (!name) throw new Refusal(404, 'NOT_FOUND', `no route ${pathname}`);
  const { inputs, outputs } = models.file(name);
  if (what === '/ready') return json(response, 200, { ready: true });
  if (!what) return json(response, 200, { name, versions: [VERSION], platform: TARGET, inputs, outputs });
  const headerLength = Number(request.headers['inference-header-content-length'] ?? body.length);
  const answer = await models.infer(name, body, headerLength);
  response
    .writeHead(200, {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': answer.headerLength,
      'content-length': answer.body.length,
    })
    .end(answer.body);
}

export async function openSidecar({ address, target = TARGET, sdk = SDK }: SidecarOptions): Promise<Sidecar> {
  const models = new Models();
  const about = {
    name: 'skein-example-sidecar',
    version: VERSION,
    extensions: ['model_repository', 'binary_tensor_data', 'skein'],
    skein: { target, sdk, fault: null },
  };
  const server: Server = createServer((request, response) => {
    route(models, about, request, response).catch((error: Error & { status?: number; code?: string }) => {
      const refused = error instanceof Refusal;
      const body = { error: error.message, code: refused ? error.code : 'MODEL_CRASHED' };
      if (!response.headersSent) json(response, refused ? error.status : 500, body);
      else response.destroy();
    });
  });
  const path = /^unix:(.+)$/.exec(address)?.[1];
  // A socket that a killed predecessor left behind.
  if (path && existsSync(path)) rmSync(path);
  const [host, port] = address.split(':');
  await new Promise<void>((done, failed) => {
    server.once('error', failed);
    if (path) server.listen(path, done);
    else server.listen(Number(port), host, done);
  });
  const url = path ? address : `http://${host}:${(server.address() as AddressInfo).port}`;
  const close = () =>
    new Promise<void>((done) => {
      server.close(() => done());
      server.closeAllConnections();
    });
  return { url, close };
}

if (import.meta.main) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { target: { type: 'string' }, sdk: { type: 'string' } },
  });
  const { url } = await openSidecar({ address: positionals[0] ?? '127.0.0.1:8600', ...values });
  process.stdout.write(`listening on ${url}\n`);
}
