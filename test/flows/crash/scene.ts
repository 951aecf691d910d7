/** Where a device is made to die and to start again: an honest server, disks to begin from, and what must hold on each. */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nativeVerify, systemClock } from '@skein/agent/system-clock.ts';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { newFleet } from '../../../scripts/bench/download/fleet.ts';
import type { Fleet } from '../../../scripts/bench/download/wire.ts';
import { DEVICE, sha256 } from '../../protocol/trust/simulated-repository.ts';
import type { DiskImage } from '../../sim/power/lossy-disk.ts';
import { type DeviceStart, type Life, liveUntil, unborn } from './device.ts';
import { Publisher, VERSIONS, type Version } from './publisher.ts';

/** From enrolment to the first release, or from a release that runs to the next one. */
export type Way = 'first' | 'next';
export const until = (way: Way): Version => (way === 'first' ? '1.0.0' : '1.1.0');

const LIFE_MS = 150_000;

export class Scene {
  readonly #folder: string;
  readonly #publisher: Publisher;
  readonly #fleet: Fleet;
  readonly #urls: Record<string, string> = {};
  readonly #closing: (() => void)[] = [];
  /** Of the release before the next. */
  #oldBlobs: ReadonlySet<string> = new Set();
  #count = 0;

  private constructor(folder: string, fleet: Fleet) {
    this.#folder = folder;
    this.#fleet = fleet;
    this.#publisher = new Publisher(join(folder, 'blobs'));
  }

  static async open(folder: string): Promise<Scene> {
    const scene = new Scene(folder, await newFleet(join(folder, 'ca')));
    for (const version of VERSIONS) {
      const { url, close } = await scene.#publisher.serve(scene.#fleet, version);
      scene.#urls[version] = url;
      scene.#closing.push(close);
    }
    const [first, next] = [scene.#of('first'), scene.#of('next')];
    mkdirSync(first);
    scene.pin(first);
    cpSync(first, next, { recursive: true });
    await liveUntil(scene.start(next, '1.0.0'));
    scene.#oldBlobs = new Set(readdirSync(join(next, 'models')));
    return scene;
  }

  close(): void {
    for (const close of this.#closing) close();
  }

  /** What enrolment does to trust. */
  pin(directory: string): void {
    const store = new SqliteTrustStore(join(directory, 'trust.db'));
    store.pin(...this.#publisher.roots);
    store.close();
  }

  copyOf(way: Way): string {
    const copy = this.#empty(way);
    cpSync(this.#of(way), copy, { recursive: true });
    return copy;
  }

  /** A folder that holds this. */
  restored(way: Way, image: DiskImage): string {
    const directory = this.#empty(way);
    for (const [path, bytes] of [...image].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (bytes) writeFileSync(join(directory, path), bytes);
      else mkdirSync(join(directory, path));
    }
    return directory;
  }

  remove(directory: string): void {
    for (const suffix of ['', '.log', '.json']) rmSync(directory + suffix, { recursive: true, force: true });
  }

  start(directory: string, version: Version): DeviceStart {
    const { ca, device } = this.#fleet;
    return { directory, url: this.#urls[version]!, fleet: { ca, device }, until: version };
  }

  /** The device in a process of its own, under strace when there are words for it. */
  async run(directory: string, way: Way, strace?: string[], lateTrust = false): Promise<Ended> {
    const file = `${directory}.json`;
    writeFileSync(file, JSON.stringify({ ...this.start(directory, until(way)), lateTrust }));
    const device = [process.execPath, join(import.meta.dirname, 'device-process.ts'), file];
    const command = strace ? ['strace', '-f', '-qq', ...strace, ...device] : device;
    return run(['nice', '-n', '10', ...command]);
  }

  /** Is there a blob of the release to come, or has it been loaded? */
  hasActed(loads: Life['loads'], blobs: Iterable<string>): boolean {
    return loads.some((load) => load.version === '1.1.0') || [...blobs].some((b) => !this.#oldBlobs.has(b));
  }

  /** Loads of bytes that nobody signed for their version. */
  unsigned(life: Life): string[] {
    const wrong = life.loads.filter((load) => this.#publisher.models.get(load.version) !== load.loaded);
    return wrong.map((load) => `loaded ${load.loaded} as ${load.version}`);
  }

  /** Files below their final name that are not what it says, or were never signed. */
  falseBlobs(directory: string): string[] {
    const models = join(directory, 'models');
    const blobs = blobsIn(directory).filter((name) => !name.endsWith('.part'));
    const torn = blobs.filter((name) => sha256(readFileSync(join(models, name))) !== name);
    const strange = blobs.filter((name) => !this.#publisher.blobs.has(name));
    return [
      ...torn.map((name) => `${name} does not hash to its name`),
      ...strange.map((name) => `${name} was never signed`),
    ];
  }

  /** Does it take what was the newest before, validly signed? Asked on a copy, with the real trust client. */
  async takesOlder(directory: string): Promise<boolean> {
    const copy = `${directory}-older`;
    cpSync(directory, copy, { recursive: true });
    try {
      return await this.#takes(copy, '1.0.0');
    } finally {
      rmSync(copy, { recursive: true });
    }
  }

  async #takes(directory: string, version: Version): Promise<boolean> {
    const store = new SqliteTrustStore(join(directory, 'trust.db'));
    const fetcher = {
      document: async (path: string) => this.#publisher.document(path, version),
      async *blob(): AsyncIterable<Uint8Array> {},
    };
    const keys = ed25519Keys(nativeVerify);
    const client = new TrustClient({
      ...{ fetcher, store, clock: systemClock, keys, device: DEVICE, hardwareTags: [] },
    });
    try {
      await client.refresh();
      return true;
    } catch (thrown) {
      return (thrown as { code?: string }).code !== 'METADATA_ROLLBACK';
    } finally {
      store.close();
    }
  }

  #of = (way: Way): string => join(this.#folder, way);

  #empty = (way: Way): string => mkdtempSync(join(this.#folder, `${way}-${this.#count++}-`));
}

export function blobsIn(directory: string): string[] {
  return readdirSync(directory).includes('models') ? readdirSync(join(directory, 'models')) : [];
}

export function imageOf(directory: string): DiskImage {
  const found = readdirSync(directory, { recursive: true, withFileTypes: true });
  const pathOf = (at: (typeof found)[number]) => join(at.parentPath, at.name);
  return new Map(
    found.map((at) => [
      pathOf(at).slice(directory.length + 1),
      at.isDirectory() ? null : new Uint8Array(readFileSync(pathOf(at))),
    ]),
  );
}

export interface Ended {
  code: number | null;
  signal: string | null;
  life: Life;
  stderr: string;
}

/** One thread of file calls beside the main one, so that a count of calls says the same each time. */
function run([command, ...args]: string[]): Promise<Ended> {
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1', NODE_OPTIONS: '' };
  const child = spawn(command!, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => {
    said.stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    said.stderr = (said.stderr + chunk).slice(-2_000);
  });
  const late = setTimeout(() => child.kill('SIGTERM'), LIFE_MS);
  return new Promise((done) =>
    child.once('close', (code, signal) => {
      clearTimeout(late);
      const line = said.stdout.trimEnd().split('\n').at(-1);
      const life = line ? (JSON.parse(line) as Life) : unborn();
      done({ code, signal, life, stderr: said.stderr });
    }),
  );
}
