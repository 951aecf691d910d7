/** One suite for every adapter of the UpdateStore port. */
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { UpdateStore } from '@skein/agent/update/ports.ts';
import { openOrReplaceUpdateStore, openUpdateStore } from '@skein/agent/update/sqlite-update-store.ts';
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

  it.each(['zeroed', 'cut', 'torn'])(
    'is begun anew when it is %s, keeps the damaged file, and says so',
    (how) => {
      const folder = mkdtempSync(join(tmpdir(), 'skein-update-'));
      const path = join(folder, 'update.db');
      try {
        const before = openUpdateStore(path);
        for (let n = 0; n < 20; n++) before.save(`m${n}`, JSON.stringify('x'.repeat(1_000)));
        before.close();
        const bytes = readFileSync(path);
        if (how === 'zeroed') writeFileSync(path, new Uint8Array(bytes.length));
        if (how === 'cut') truncateSync(path, 4_096);
        if (how === 'torn') writeFileSync(path, bytes.fill(0x5a, 4_096, 12_288));
        expect(() => openUpdateStore(path)).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }));
        const said: string[] = [];
        const log = { info() {}, warn() {}, error: (text: string) => void said.push(text) };
        const anew = openOrReplaceUpdateStore(path, log);
        expect(anew.models()).toEqual([]);
        anew.save('host', '1');
        anew.close();
        expect([said.length, existsSync(`${path}.damaged`)]).toEqual([1, true]);
        const again = openOrReplaceUpdateStore(path, log);
        expect([again.load('host'), said.length]).toEqual(['1', 1]);
        again.close();
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );

  it('that can not be opened for another reason is not replaced', () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-update-'));
    const path = join(folder, 'update.db');
    const log = { info() {}, warn() {}, error() {} };
    try {
      expect(() => openOrReplaceUpdateStore(join(folder, 'none', 'update.db'), log)).toThrow(
        expect.objectContaining({ code: 'DISK_FAILED' }),
      );
      expect(existsSync(`${path}.damaged`)).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
