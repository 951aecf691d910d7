/**
 * The mark beside the database: numbers are vouched for before they are given, so that a destroyed database leaves a bound
 * on what it held. One synced file each time, so a block at a time, larger where numbers go fast.
 */
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { OutboxCore } from './sqlite-outbox-core.ts';
import { writeMark } from './sqlite-outbox-file.ts';
import { reserve } from './stream-state.ts';

/** Four times as many at a time while they last less than ten minutes. */
const BLOCK = { least: 4096, most: 65_536, lasting: 10 * MINUTE };

export class Vouching {
  readonly #core: OutboxCore;
  readonly #next = new Map<Stream, number>();
  #block = BLOCK.least;
  #at: Millis = Number.NEGATIVE_INFINITY;

  constructor(core: OutboxCore) {
    this.#core = core;
  }

  /** Of a stream, or of all, nothing is vouched for any more: its epoch is another one. */
  forget(stream?: Stream): void {
    if (stream === undefined) this.#next.clear();
    else this.#next.delete(stream);
  }

  /** Before so many numbers of each stream are given. @throws as {@link writeMark} */
  cover(coming: ReadonlyMap<Stream, readonly unknown[]>): void {
    const count = (stream: Stream): number => coming.get(stream)?.length ?? 0;
    const covered = (stream: Stream): boolean =>
      this.#core.state(stream).nextSeq + count(stream) <= (this.#next.get(stream) ?? 0);
    if ([...coming.keys()].every(covered)) return;
    const { clock, path } = this.#core.options;
    const fast = clock.mono() - this.#at < BLOCK.lasting;
    this.#block = fast ? Math.min(BLOCK.most, 4 * this.#block) : BLOCK.least;
    this.#at = clock.mono();
    const marks = STREAMS.map((s) => reserve(this.#core.state(s), count(s) + this.#block));
    writeMark(path, marks);
    for (const mark of marks) this.#next.set(mark.stream, mark.nextSeq);
  }
}
