/** The points at which a device can be killed, found by strace, and what must hold after each. */
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
import { type DeviceStart, type Life, liveUntil } from './device.ts';
import { Publisher, VERSIONS, type Version } from './publisher.ts';

/** The call before which it is killed: the `nth` of `syscall` on `file` (from the state directory). */
export interface Point {
  way: Way;
  syscall: string;
  file: string;
  nth: number;
}
/** From enrolment to the first release, or from a release that runs to the next one. */
export type Way = 'first' | 'next';

const CALLS = 'write,pwrite64,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat,ftruncate,openat';
const LIFE_MS = 60_000;

export class Matrix {
  readonly #folder: string;
  readonly #publisher: Publisher;
  readonly #fleet: Fleet;
  readonly #urls: Record<string, string> = {};
  readonly #closing: (() => void)[] = [];
  #count = 0;

  private constructor(folder: string, fleet: Fleet) {
    this.#folder = folder;
    this.#fleet = fleet;
    this.#publisher = new Publisher(join(folder, 'blobs'));
  }

  static async open(folder: string): Promise<Matrix> {
    const matrix = new Matrix(folder, await newFleet(join(folder, 'ca')));
    for (const version of VERSIONS) {
      const { url, close } = await matrix.#publisher.serve(matrix.#fleet, version);
      matrix.#urls[version] = url;
      matrix.#closing.push(close);
    }
    mkdirSync(matrix.#of('first'));
    const store = new SqliteTrustStore(join(matrix.#of('first'), 'trust.db'));
    store.pin(...matrix.#publisher.roots);
    store.close();
    cpSync(matrix.#of('first'), matrix.#of('next'), { recursive: true });
    await liveUntil(matrix.#start(matrix.#of('next'), '1.0.0'));
    return matrix;
  }

  close(): void {
    for (const close of this.#closing) close();
  }

  /** Every call of a whole undisturbed way that changes the state directory. */
  async points(way: Way): Promise<Point[]> {
    const directory = this.#copy(way);
    const log = `${directory}.log`;
    const ended = await this.#run(directory, way, ['-y', '-e', `trace=${CALLS}`, '-o', log]);
    if (ended.code !== 0) throw new Error(`the undisturbed way ended with ${ended.code}: ${ended.stderr}`);
    const counts = new Map<string, number>();
    return readFileSync(log, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const found = callOn(line, directory);
        if (!found) return [];
        const key = `${found.syscall} ${found.file}`;
        const nth = (counts.get(key) ?? 0) + 1;
        counts.set(key, nth);
        return [{ way, ...found, nth }];
      });
  }

  /** Kills at the point, starts again, and says what does not hold; empty: all of it does. */
  async broken(point: Point, lateTrust = false): Promise<string[]> {
    const { way, syscall, file, nth } = point;
    const directory = this.#copy(way);
    const inject = ['-e', `trace=${syscall}`, '-e', `inject=${syscall}:signal=KILL:when=${nth}`];
    const args = ['-P', join(directory, file), ...inject, '-o', '/dev/null'];
    const killed = await this.#run(directory, way, args, lateTrust);
    if (killed.signal !== 'SIGKILL' && killed.code !== 137) return [`was not killed: ${killed.code}`];
    const wrong = await this.#after(directory, way, killed.life, 'killed');
    if (wrong.length > 0) return wrong;
    const again = await this.#run(directory, way, undefined);
    if (again.code !== 0) wrong.push(`bricked: ended with ${again.code ?? again.signal}: ${again.stderr}`);
    if (again.life.committed !== until(way)) wrong.push(`bricked: ${again.life.committed} is committed`);
    if (again.life.loads.at(-1)?.version !== until(way)) wrong.push('bricked: the new model does not run');
    wrong.push(...(await this.#after(directory, way, again.life, 'whole')));
    rmSync(directory, { recursive: true });
    return wrong;
  }

  /** Seen from outside: files hash to their names, loads were signed, older metadata is refused. */
  async #after(directory: string, way: Way, life: Life, when: 'killed' | 'whole'): Promise<string[]> {
    const models = join(directory, 'models');
    const names = readdirSync(directory).includes('models') ? readdirSync(models) : [];
    const blobs = names.filter((name) => !name.endsWith('.part'));
    const torn = blobs.filter((name) => sha256(readFileSync(join(models, name))) !== name);
    const strange = blobs.filter((name) => !this.#publisher.blobs.has(name));
    const unsigned = life.loads.filter((l) => this.#publisher.models.get(l.version) !== l.loaded);
    const acted = life.loads.some((l) => l.version === '1.1.0') || blobs.some((b) => this.#isNew(b));
    const wrong = [
      ...torn.map((name) => `${when}: ${name} does not hash to its name`),
      ...strange.map((name) => `${when}: ${name} was never signed`),
      ...unsigned.map((l) => `${when}: loaded ${l.loaded} as ${l.version}`),
    ];
    // What acted on the newer metadata must have remembered it; before that, the older is the newest it knows.
    if (way === 'next' && (when === 'whole' || acted) && (await this.#takesOlder(directory)))
      wrong.push(`${when}: older metadata was accepted`);
    return wrong;
  }

  #isNew(blob: string): boolean {
    return !this.#oldBlobs.has(blob);
  }

  get #oldBlobs(): Set<string> {
    const next = readdirSync(join(this.#of('next'), 'models'));
    return new Set(next);
  }

  /** A server that serves what was the newest before, validly signed: asked on a copy, with the real trust client. */
  async #takesOlder(directory: string): Promise<boolean> {
    const copy = `${directory}-older`;
    cpSync(directory, copy, { recursive: true });
    const store = new SqliteTrustStore(join(copy, 'trust.db'));
    const fetcher = {
      document: async (path: string) => this.#publisher.document(path, '1.0.0'),
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
      rmSync(copy, { recursive: true });
    }
  }

  async #run(directory: string, way: Way, strace: string[] | undefined, lateTrust = false): Promise<Ended> {
    const file = `${directory}.json`;
    writeFileSync(file, JSON.stringify({ ...this.#start(directory, until(way)), lateTrust }));
    const device = [process.execPath, join(import.meta.dirname, 'device-process.ts'), file];
    const command = strace ? ['strace', '-f', '-qq', ...strace, ...device] : device;
    return run(['nice', '-n', '10', ...command]);
  }

  #start(directory: string, version: Version): DeviceStart {
    const { ca, device } = this.#fleet;
    return { directory, url: this.#urls[version]!, fleet: { ca, device }, until: version };
  }

  #of = (way: Way): string => join(this.#folder, way);

  #copy(way: Way): string {
    const copy = mkdtempSync(join(this.#folder, `${way}-${this.#count++}-`));
    cpSync(this.#of(way), copy, { recursive: true });
    return copy;
  }
}

const until = (way: Way): Version => (way === 'first' ? '1.0.0' : '1.1.0');

const ON_DESCRIPTOR = /^\d+ +(write|pwrite64|fsync|fdatasync|ftruncate)\(\d+<([^>]*)>/;
const ON_PATH = /^\d+ +(rename\w*|unlink\w*|openat)\([^"]*"([^"]*)"/;

/** The call of a log line of `strace -f -y`, if it changes `directory` or something below it. */
export function callOn(line: string, directory: string): Pick<Point, 'syscall' | 'file'> | undefined {
  const [, syscall, path] = ON_DESCRIPTOR.exec(line) ?? ON_PATH.exec(line) ?? [];
  if (!syscall || !path || (syscall === 'openat' && !line.includes('O_CREAT'))) return undefined;
  if (path === directory) return { syscall, file: '' };
  return path.startsWith(`${directory}/`) ? { syscall, file: path.slice(directory.length + 1) } : undefined;
}

interface Ended {
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
      const life = line ? (JSON.parse(line) as Life) : { loads: [], outcomes: [], committed: null };
      done({ code, signal, life, stderr: said.stderr });
    }),
  );
}
