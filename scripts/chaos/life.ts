/**
 * One process of a campaign through all its lives: killed in whatever it is doing, booting included, and always started
 * again, as a service manager would. What it was started with is asked anew each time.
 */
import type { Millis } from '@skein/protocol/units.ts';
import { type Begun, describeEnding } from '../processes.ts';

/** A process, whatever says that it is ready. */
export type Beginning = Pick<Begun, 'child' | 'exited'> & { readonly ready: Promise<unknown> };

export interface LifeOptions {
  name: string;
  begin(): Beginning;
  /** When it is dead and before it lives again: its files lie still. */
  whenDead?(): void;
}

const RESTART_MS: Millis = 500;
/** Of a loaded machine, with a disk that is full meanwhile. */
const READY_MS: Millis = 120_000;

export class Life {
  readonly name: string;
  kills = 0;
  /** Of these, before it was ready. */
  bootKills = 0;
  /** How it ended when nobody killed it. */
  readonly endings: string[] = [];
  readonly #options: LifeOptions;
  #now: Beginning | undefined;
  #up = false;
  #waiting = new Set<() => void>();
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: LifeOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** undefined between two lives. */
  get pid(): number | undefined {
    return this.#now?.child.pid;
  }

  get up(): boolean {
    return this.#up;
  }

  start(): void {
    clearTimeout(this.#again);
    if (this.#now || this.#closed) return;
    const life = this.#options.begin();
    this.#now = life;
    life.ready.then(
      () => this.#isUp(life),
      () => {},
    );
    void life.exited.then((ending) => {
      if (this.#now !== life) return;
      this.endings.push(describeEnding(ending));
      this.#over();
      this.#again = setTimeout(() => this.start(), RESTART_MS);
    });
  }

  #isUp(life: Beginning): void {
    if (this.#now !== life) return;
    this.#up = true;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #over(): void {
    this.#now = undefined;
    this.#up = false;
    this.#options.whenDead?.();
  }

  /** @throws Error when it does not get there in {@link READY_MS} */
  ready(): Promise<void> {
    if (this.#up) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(wake);
        const endings = this.endings.slice(-5).join(', ') || 'it did not end';
        reject(new Error(`${this.name} was not ready within ${READY_MS} ms (${endings})`));
      }, READY_MS);
      const wake = () => {
        clearTimeout(late);
        resolve();
      };
      this.#waiting.add(wake);
    });
  }

  /** SIGKILL. It stays dead until {@link start}. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** SIGTERM, and SIGKILL when it does not mind. It stays dead until {@link start}. */
  async stop(graceMs: Millis): Promise<void> {
    const child = this.#now?.child;
    const late = setTimeout(() => child?.kill('SIGKILL'), graceMs);
    await this.#end('SIGTERM');
    clearTimeout(late);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    clearTimeout(this.#again);
    const life = this.#now;
    if (!life) return;
    if (signal === 'SIGKILL') this.kills++;
    if (signal === 'SIGKILL' && !this.#up) this.bootKills++;
    this.#now = undefined;
    this.#up = false;
    life.child.kill(signal);
    await life.exited;
    this.#options.whenDead?.();
  }

  /** There is no next life, whoever asks for one. */
  async close(): Promise<void> {
    this.#closed = true;
    this.signal('SIGCONT');
    await this.#end('SIGKILL');
  }

  /** Anything but an end of it. */
  signal(signal: NodeJS.Signals): void {
    this.#now?.child.kill(signal);
  }
}
