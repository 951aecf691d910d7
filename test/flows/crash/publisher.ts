/** Two releases of one model, signed, and an honest server of them that can also serve what it served before. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { rangeOf } from '@skein/fleet-server/http/byte-range.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import { DAY, MIB } from '@skein/protocol/units.ts';
import type { Fleet } from '../../../scripts/bench/download/wire.ts';
import { heavyModel, stage } from '../../../scripts/staged-models.ts';
import { orderOf, SimulatedRepositories, sha256 } from '../../protocol/trust/simulated-repository.ts';

export const MODEL = 'small';
export const WIDTH = 128;
export const VERSIONS = ['1.0.0', '1.1.0'] as const;
export type Version = (typeof VERSIONS)[number];

export class Publisher {
  /** What targets signed: model file by version, and every blob. */
  readonly models = new Map<string, string>();
  readonly blobs = new Set<string>();
  readonly #folder: string;
  readonly #repositories = new SimulatedRepositories();
  /** What was served when each version was the newest. */
  readonly #then = new Map<string, { image: Files; director: Files }>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    const late = Date.now() + 30 * DAY;
    const { image, director } = this.#repositories;
    for (const repository of [image, director]) {
      repository.expires = { root: late, timestamp: late, snapshot: late, targets: late };
      repository.versions.root = 0;
      repository.publishRoot();
    }
    this.#repositories.directorExpires = late;
    VERSIONS.forEach((version, at) => {
      this.#release(version, at + 1);
    });
  }

  get roots(): [Uint8Array, Uint8Array] {
    const { image, director } = this.#repositories;
    return [image.files['1.root.json']!, director.files['1.root.json']!];
  }

  document(path: string, version: Version): Uint8Array | undefined {
    const [, , repository, file] = path.split('/') as ['', 'v1', 'image' | 'director', string];
    return this.#then.get(version)?.[repository]?.[decodeURIComponent(file)];
  }

  async serve(fleet: Fleet, version: Version): Promise<{ url: string; close(): void }> {
    const tls = { ...fleet.server, ca: fleet.ca, requestCert: true, rejectUnauthorized: true };
    const server = createServer(tls, ({ url = '', headers }, response) => {
      const blob = /^\/v1\/blobs\/([0-9a-f]{64})$/.exec(url)?.[1];
      const known = blob !== undefined && this.blobs.has(blob);
      const body = known ? readFileSync(join(this.#folder, blob)) : this.document(url, version);
      if (!body) return void response.writeHead(404).end();
      const etag = `"${blob ?? sha256(body)}"`;
      const asked = { range: headers.range, ifRange: headers['if-range']?.toString() };
      const answer = rangeOf(asked, etag, body.length);
      if (answer.status === 416) return void response.writeHead(416).end();
      const { start, end, status } = answer;
      const range = status === 206 ? { 'content-range': `bytes ${start}-${end - 1}/${body.length}` } : {};
      response.writeHead(status, { etag, 'content-length': end - start, ...range });
      response.end(body.subarray(start, end));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const close = () => {
      server.closeAllConnections();
      server.close();
    };
    return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
  }

  #release(version: string, release: number): void {
    const spec = (name: string) => ({ name, type: 'float32' as const, shape: [-1, WIDTH] });
    const factor = 1 + release / 1000;
    const { manifest } = stage(this.#folder, heavyModel(WIDTH, 2, -1, factor), {
      ...{ name: MODEL, version, inputs: [spec('x')], outputs: [spec('y')] },
    });
    const tensor = (value: number) => ({ shape: [1, WIDTH], data: Array(WIDTH).fill(value) });
    const vectors = [{ inputs: { x: tensor(1) }, outputs: { y: tensor(factor) } }];
    const golden = this.#put(JSON.stringify({ format: 1, vectors }));
    const variants = manifest.variants.map((variant) => ({ ...variant, tolerance: 1e-3 }));
    const needs = { memoryBytes: 256 * MIB, tags: [] };
    const target = this.#put(JSON.stringify({ ...manifest, golden, variants, needs }));
    const model = variants[0]!.file.sha256;
    this.models.set(version, model);
    this.blobs.add(model);
    const custom = { model: MODEL, version, release, floor: 0, tags: [] };
    const { image, director } = this.#repositories;
    image.targets = {
      ...image.targets,
      [manifestPath(MODEL, version)]: { length: target.size, hashes: { sha256: target.sha256 }, custom },
    };
    const brief = { minInferences: 1, minMs: 0, deadlineMs: 60_000, maxErrorRate: 1, maxLatencyRatio: 1e6 };
    this.#repositories.orders = [orderOf(MODEL, version, { probation: brief })];
    this.#repositories.publish();
    this.#then.set(version, { image: { ...image.files }, director: { ...director.files } });
  }

  #put(text: string): { sha256: string; size: number } {
    const hash = sha256(text);
    writeFileSync(join(this.#folder, hash), text);
    this.blobs.add(hash);
    return { sha256: hash, size: Buffer.byteLength(text) };
  }
}

type Files = Record<string, Uint8Array>;
