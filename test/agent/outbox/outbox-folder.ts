/** A buffer on a real file in a folder of its own, for tests that damage the file: it is closed and goes after each. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SkeinError } from '@skein/protocol/errors.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach } from 'vitest';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { type OutboxOptions, openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { seeded, testSigner } from '../../protocol/batch/random.ts';

export const PAGE = 1024;
const MEMORY = '/dev/shm';
const signer = testSigner('device');

export class OutboxFolder {
  path = '';
  troubles: SkeinError[] = [];
  #outbox: Outbox | undefined;
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seeded(seed);
    beforeEach(() => {
      const parent = existsSync(MEMORY) ? MEMORY : tmpdir();
      this.path = join(mkdtempSync(join(parent, 'skein-outbox-')), 'outbox.db');
      this.troubles = [];
    });
    afterEach(() => {
      this.close();
      rmSync(join(this.path, '..'), { recursive: true, force: true });
    });
  }

  open(more: Partial<OutboxOptions> = {}): Outbox {
    this.#outbox = openSqliteOutbox({
      ...{ path: this.path, fleet: 'home', device: 'd-1', signer, reserveBytes: 0 },
      clock: { now: () => 1_763_812_345_678, mono: () => 0, after: () => ({ cancel() {} }) },
      entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => this.#random() * 256) },
      trouble: (error) => this.troubles.push(error),
      ...more,
    });
    return this.#outbox;
  }

  close(): void {
    this.#outbox?.close();
    this.#outbox = undefined;
  }

  /** The number of a page, by a query of the closed file. */
  pageOf(query: string): number {
    const database = new Database(this.path, { readonly: true });
    try {
      return database.prepare(query).pluck().get() as number;
    } finally {
      database.close();
    }
  }

  /** `count` pages from `page` on, which SQLite counts from 1. */
  spoil(page: number, count = 1, byte = 0xa5): void {
    const bytes = readFileSync(this.path);
    bytes.fill(byte, (page - 1) * PAGE, (page - 1 + count) * PAGE);
    writeFileSync(this.path, bytes);
  }
}
