/**
 * What was accepted, kept outside of everything that dies: after each death the agent's files are read, and a record
 * that was once seen there may never change, vanish or come to the server in another shape.
 */
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { type Contents, readOutbox } from './parties.ts';

/** Key order is free (batches store columns, the outbox text); everything else counts, at every depth. */
const canonical = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(canonical);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.map(([name, inner]) => [name, canonical(inner)]);
};

const hashOf = (body: string): string =>
  createHash('sha256')
    .update(JSON.stringify(canonical(JSON.parse(body))))
    .digest('hex');

const differing = (before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] =>
  [...now].filter(([place, hash]) => before.has(place) && before.get(place) !== hash).map(([place]) => place);

export class OutsideLedger {
  /** `<stream>/<epoch>/<seq>` → SHA-256 of the record. */
  readonly #hashes = new Map<string, string>();

  get size(): number {
    return this.#hashes.size;
  }

  /** How many records of a stream were ever seen. */
  count(stream: string): number {
    return [...this.#hashes.keys()].filter((place) => place.startsWith(`${stream}/`)).length;
  }

  /** After each death, before the next life. @param scratch a folder for the copy that is read */
  readDead(outbox: string, scratch: string): void {
    const found = hashesOf(readOutbox(outbox, scratch));
    expect(differing(this.#hashes, found), 'changed after it was accepted').toEqual([]);
    for (const [place, hash] of found) this.#hashes.set(place, hash);
  }

  /** The server has exactly this, no record more or less. */
  expectSame(server: Contents): void {
    const stored = hashesOf(server);
    const missing = [...this.#hashes.keys()].filter((place) => !stored.has(place));
    const unaccepted = [...stored.keys()].filter((place) => !this.#hashes.has(place));
    const changed = differing(this.#hashes, stored);
    expect({ missing, unaccepted, changed }).toEqual({ missing: [], unaccepted: [], changed: [] });
  }
}

const hashesOf = (contents: Contents): Map<string, string> =>
  new Map([...contents].map(([place, body]) => [place, hashOf(body)]));
