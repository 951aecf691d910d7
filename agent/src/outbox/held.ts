/**
 * Records that wait in memory for the next commit. Bounded in number and in bytes, because a disk that fails may take
 * none for days: beyond that the oldest of the longest stream is refused, which was never accepted, and counted.
 */
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export interface HeldRecord {
  at: Millis;
  /** JSON in one line. */
  text: string;
  alarm: boolean;
  /** Results that sampling left out before it. */
  leftOut: number;
}

export interface HeldLimits {
  records: number;
  bytes: Bytes;
}

/** A record's place in a list, beside its text. */
const PLACE: Bytes = 64;
const weigh = (record: HeldRecord): Bytes => record.text.length + PLACE;

class Waiting {
  #records: HeldRecord[] = [];
  #first = 0;
  bytes: Bytes = 0;
  refused = 0;
  /** Left out since the last record. */
  leftOut = 0;

  get length(): number {
    return this.#records.length - this.#first;
  }

  push(record: HeldRecord): void {
    this.#records.push(record);
    this.bytes += weigh(record);
  }

  oldest(records: number, text: Bytes): HeldRecord[] {
    let end = this.#first;
    let sum = 0;
    while (end < this.#records.length && end - this.#first < records && sum < text) {
      sum += this.#records[end++]!.text.length;
    }
    return this.#records.slice(this.#first, end);
  }

  drop(count: number): void {
    for (let i = 0; i < count; i++) this.bytes -= weigh(this.#records[this.#first + i]!);
    this.#first += count;
    if (this.#first * 2 < this.#records.length) return;
    this.#records = this.#records.slice(this.#first);
    this.#first = 0;
  }

  /** What it spoke for is told by the one behind it. */
  refuse(): void {
    const [gone] = this.oldest(1, 1);
    this.drop(1);
    this.refused++;
    const next = this.#records[this.#first];
    if (next) this.#records[this.#first] = { ...next, leftOut: next.leftOut + gone!.leftOut };
    else this.leftOut += gone!.leftOut;
  }
}

export class Held {
  readonly #limits: HeldLimits;
  readonly #streams = new Map(STREAMS.map((stream) => [stream, new Waiting()]));
  #records = 0;
  #bytes: Bytes = 0;

  constructor(limits: HeldLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#records;
  }

  get bytes(): Bytes {
    return this.#bytes;
  }

  /** How many records of the stream wait. */
  waiting = (stream: Stream): number => this.#streams.get(stream)!.length;
  refused = (stream: Stream): number => this.#streams.get(stream)!.refused;
  leftOut = (stream: Stream): number => this.#streams.get(stream)!.leftOut;

  /** False when something had to be refused for it. */
  add(stream: Stream, at: Millis, text: string, alarm: boolean): boolean {
    const own = this.#streams.get(stream)!;
    const record = { at, text, alarm, leftOut: own.leftOut };
    own.leftOut = 0;
    own.push(record);
    this.#records++;
    this.#bytes += weigh(record);
    let whole = true;
    while (this.#records > this.#limits.records || this.#bytes > this.#limits.bytes) {
      whole = false;
      this.#refuseOne();
    }
    return whole;
  }

  /** A result that sampling does not keep. */
  leaveOut(stream: Stream): void {
    this.#streams.get(stream)!.leftOut++;
  }

  /** They were written down elsewhere. */
  takeLeftOut(stream: Stream): void {
    this.#streams.get(stream)!.leftOut = 0;
  }

  /** What one transaction takes: at most so many records and about so much text. It stays until {@link drop}. */
  oldest = (stream: Stream, records: number, text: Bytes): HeldRecord[] =>
    this.#streams.get(stream)!.oldest(records, text);

  /** Of the stream's oldest, so many are committed. */
  drop(stream: Stream, count: number): void {
    const own = this.#streams.get(stream)!;
    this.#bytes -= own.bytes;
    own.drop(count);
    this.#bytes += own.bytes;
    this.#records -= count;
  }

  #refuseOne(): void {
    let longest: Waiting | undefined;
    for (const own of this.#streams.values()) if (own.bytes > (longest?.bytes ?? 0)) longest = own;
    this.#bytes -= longest!.bytes;
    longest!.refuse();
    this.#bytes += longest!.bytes;
    this.#records--;
  }
}
