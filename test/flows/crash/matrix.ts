/** The points at which a device can be killed, found by strace, and what must hold after each. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Life } from './device.ts';
import { blobsIn, type Scene, until, type Way } from './scene.ts';

/** The call before which it is killed: the `nth` of `syscall` on `file` (from the state directory). */
export interface Point {
  way: Way;
  syscall: string;
  file: string;
  nth: number;
}

const CALLS = 'write,pwrite64,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat,ftruncate,openat';

export class Matrix {
  readonly #scene: Scene;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Every call of a whole undisturbed way that changes the state directory. */
  async points(way: Way): Promise<Point[]> {
    return this.pointsFrom(this.#scene.copyOf(way), way);
  }

  /** The same on a directory that is changed by it. */
  async pointsFrom(directory: string, way: Way): Promise<Point[]> {
    const log = `${directory}.log`;
    const ended = await this.#scene.run(directory, way, ['-y', '-e', `trace=${CALLS}`, '-o', log]);
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
    const directory = this.#scene.copyOf(way);
    const inject = ['-e', `trace=${syscall}`, '-e', `inject=${syscall}:signal=KILL:when=${nth}`];
    const args = ['-P', join(directory, file), ...inject, '-o', '/dev/null'];
    const killed = await this.#scene.run(directory, way, args, lateTrust);
    if (killed.signal !== 'SIGKILL' && killed.code !== 137) return [`was not killed: ${killed.code}`];
    const wrong = await this.#after(directory, way, killed.life, 'killed');
    if (wrong.length > 0) return wrong;
    const again = await this.#scene.run(directory, way);
    if (again.code !== 0) wrong.push(`bricked: ended with ${again.code ?? again.signal}: ${again.stderr}`);
    if (again.life.committed !== until(way)) wrong.push(`bricked: ${again.life.committed} is committed`);
    if (again.life.loads.at(-1)?.version !== until(way)) wrong.push('bricked: the new model does not run');
    wrong.push(...(await this.#after(directory, way, again.life, 'whole')));
    this.#scene.remove(directory);
    return wrong;
  }

  /** Seen from outside: files hash to their names, loads were signed, older metadata is refused. */
  async #after(directory: string, way: Way, life: Life, when: 'killed' | 'whole'): Promise<string[]> {
    const wrong = [...this.#scene.falseBlobs(directory), ...this.#scene.unsigned(life)];
    // What acted on the newer metadata must have remembered it; before that, the older is the newest it knows.
    const acted = when === 'whole' || this.#scene.hasActed(life.loads, blobsIn(directory));
    if (way === 'next' && acted && (await this.#scene.takesOlder(directory)))
      wrong.push('older metadata was accepted');
    return wrong.map((what) => `${when}: ${what}`);
  }
}

const ON_DESCRIPTOR = /^\d+ +(write|pwrite64|fsync|fdatasync|ftruncate)\(\d+<([^>]*)>/;
const ON_PATH = /^\d+ +(rename\w*|unlink\w*|openat)\([^"]*"([^"]*)"/;

/** The call of a log line of `strace -f -y`, if it changes `directory` or something below it. */
export function callOn(line: string, directory: string): Pick<Point, 'syscall' | 'file'> | undefined {
  const [, syscall, path] = ON_DESCRIPTOR.exec(line) ?? ON_PATH.exec(line) ?? [];
  if (!syscall || !path || (syscall === 'openat' && !line.includes('O_CREAT'))) return undefined;
  if (path === directory) return { syscall, file: '' };
  return path.startsWith(`${directory}/`) ? { syscall, file: path.slice(directory.length + 1) } : undefined;
}
