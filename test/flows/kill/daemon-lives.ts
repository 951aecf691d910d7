/** A real daemon of a {@link Stack} that is killed in whatever it is doing, booting included, and started again. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Daemon } from '../../../scripts/processes.ts';

export interface LivesOptions {
  name: string;
  /** Part of its command line that no other child of this process has. */
  program: string;
  /** The one that became ready last. */
  current(): Daemon;
  /** Resolves when it is ready. */
  restart(): Promise<void>;
}

export class DaemonLives {
  kills = 0;
  /** Deaths before it was ready. */
  bootKills = 0;
  readonly name: string;
  readonly #options: LivesOptions;
  /** false: killed before it was ready. */
  #up: Promise<boolean> = Promise.resolve(true);
  #killing = false;

  constructor(options: LivesOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** At once, without waiting until it is ready. */
  start(): void {
    this.#killing = false;
    this.#up = this.#options.restart().then(
      () => true,
      (error: unknown) => {
        if (this.#killing) return false;
        throw error;
      },
    );
    // Whoever waits for it next hears of it; nobody may be waiting yet.
    this.#up.catch(() => {});
  }

  /** @throws SkeinError with the last words of one that did not get up by itself */
  async ready(): Promise<void> {
    await this.#up;
  }

  /** SIGKILL now. @throws Error when it had ended by itself */
  async kill(): Promise<void> {
    const pid = childOf(this.#options.program);
    if (pid === undefined) {
      await this.#up;
      throw new Error(`the ${this.name} ended by itself`);
    }
    this.#killing = true;
    process.kill(pid, 'SIGKILL');
    this.kills++;
    if (await this.#up) await this.#options.current().exited;
    else this.bootKills++;
  }
}

/** The living child of this process with that program; undefined when there is none. */
export function childOf(program: string): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [, state, parent] = /\) (\S) (\d+) /.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))!;
      if (Number(parent) !== process.pid || state === 'Z') continue;
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(program)) return Number(name);
    } catch {
      // It ended while it was looked at.
    }
  }
  return undefined;
}
