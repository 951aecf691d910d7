/** One suite for every adapter of the UpdateStore port. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { UpdateStore } from '@skein/agent/update/ports.ts';
import { openUpdateStore } from '@skein/agent/update/sqlite-update-store.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimDisk, simUpdateStore } from '../sim/disk.ts';

interface Subject {
  store: UpdateStore;
  reopen(): UpdateStore;
  close(): void;
}

const adapters: Record<string, () => Subject> = {
  sqlite() {
    const directory = mkdtempSync(join(tmpdir(), 'skein-update-'));
    const path = join(directory, 'update.db');
    let store = openUpdateStore(path);
    return {
      store,
      reopen() {
        store.close();
        store = openUpdateStore(path);
        return store;
      },
      close() {
        store.close();
        rmSync(directory, { recursive: true });
      },
    };
  },
  simulated() {
    const disk = new SimDisk();
    return { store: simUpdateStore(disk), reopen: () => simUpdateStore(disk), close() {} };
  },
};

describe.each(Object.keys(adapters))('update store on %s', (name) => {
  let subject: Subject;
  beforeEach(() => {
    subject = adapters[name]!();
  });
  afterEach(() => subject.close());

  it('knows nothing at first', () => {
    expect(subject.store.models()).toEqual([]);
    expect(subject.store.load('host')).toBeUndefined();
  });

  it('keeps the last state of each model over a restart', () => {
    subject.store.save('host', '{"a":1}');
    subject.store.save('gas', '{"b":1}');
    subject.store.save('host', '{"a":2}');
    const again = subject.reopen();
    expect(again.models()).toEqual(['gas', 'host']);
    expect(again.load('host')).toBe('{"a":2}');
    expect(again.load('gas')).toBe('{"b":1}');
  });
});

describe('update store on sqlite', () => {
  it('says which disk to look at when it can not be opened', () => {
    expect(() => openUpdateStore('/nowhere/at/all/update.db')).toThrow(
      expect.objectContaining({ code: 'DISK_FAILED' }),
    );
  });
});
