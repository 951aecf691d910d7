/**
 * What one device ever accepted, kept outside of everything that dies: after each death its files are read, and a
 * record that was once seen there may never say anything else.
 */
import type { Stream } from '@skein/protocol/topics.ts';
import { type OutboxFile, readDeadOutbox } from './sqlite-files.ts';

/** Batches this close to the newest are read again: a death may have undone the sealing of the last ones. */
const READ_AGAIN = 2_000;

export const placeOf = (at: { stream: Stream; epoch: string; seq: number }): string =>
  `${at.stream}/${at.epoch}/${at.seq}`;

export class Observer {
  readonly #path: string;
  readonly #scratch: string;
  /** Place → hash of every record that was ever seen. */
  readonly seen = new Map<string, string>();
  /** Seen with one content and later with another. */
  readonly changed: string[] = [];
  /** Said by the agent to be accepted, by stream. */
  readonly claimed = new Map<string, number>();
  readonly #since = new Map<string, number>();
  last: OutboxFile | undefined;

  readonly #readAgain: number;

  constructor(path: string, scratch: string, readAgain = READ_AGAIN) {
    this.#readAgain = readAgain;
    this.#path = path;
    this.#scratch = scratch;
  }

  /** While nobody has it open. */
  readDead(): void {
    const file = readDeadOutbox(this.#path, this.#scratch, this.#since);
    if (!file) return;
    this.last = file;
    for (const record of file.records) {
      const place = placeOf(record);
      const before = this.seen.get(place);
      if (before !== undefined && before !== record.hash) this.changed.push(place);
      this.seen.set(place, record.hash);
      const stream = `${record.stream}/${record.epoch}`;
      this.#since.set(stream, Math.max(this.#since.get(stream) ?? 0, record.seq - this.#readAgain));
    }
  }

  /** From its own mouth, while it lives. */
  claim(stream: string, accepted: number): void {
    this.claimed.set(stream, Math.max(accepted, this.claimed.get(stream) ?? 0));
  }
}
