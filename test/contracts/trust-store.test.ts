import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import type { TrustState, TrustStore } from '@skein/agent/update/trust-state.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryTrustStore } from '../protocol/trust/memory-trust-store.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
let folder: string;

const adapters: [string, () => TrustStore][] = [
  ['memory', () => new MemoryTrustStore()],
  ['SQLite', () => new SqliteTrustStore(join(folder, 'trust.db'))],
];

const changed = (state: TrustState): TrustState => ({
  ...state,
  image: {
    root: bytes('root 2'),
    floors: { root: 2, timestamp: 7, snapshot: 5, meta: { 'targets.json': 3 } },
  },
  director: { root: bytes('director root'), floors: { root: 1, version: 1_763_000_000 } },
  releaseFloors: { gas: 4 },
  highestTimeAt: 1_763_000_000_123,
  refreshedAt: 1_763_000_000_456,
  documents: {
    image: { timestamp: bytes('t'), snapshot: bytes('s'), 'a/b ü': bytes('r') },
    director: bytes('d'),
  },
});

describe.each(adapters)('trust store: %s', (_, open) => {
  let store: TrustStore;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'skein-trust-'));
    store = open();
  });
  afterEach(() => {
    if (store instanceof SqliteTrustStore) store.close();
    rmSync(folder, { recursive: true });
  });

  it('has nothing before enrolment', () => {
    expect(store.load()).toBeUndefined();
    expect(store.judged()).toBeUndefined();
  });

  it('keeps what was judged with the last commit, and no longer', () => {
    store.pin(bytes('image'), bytes('director'));
    expect(store.judged()).toBeUndefined();
    const one = { model: 'gas', version: '1.0.0', manifestSha256: 'ab' };
    const judged = {
      installed: [one],
      barred: [{ ...one, code: 'MODEL_REVOKED' as const, message: 'withdrawn' }],
      releaseFloors: { gas: 4 },
    };
    store.commit(changed(store.load()!), judged);
    expect(store.judged()).toEqual(judged);
    store.commit({ ...store.load()!, refreshedAt: 5 });
    expect(store.judged()).toBeUndefined();
  });

  it('begins at the pinned roots, without floors', () => {
    store.pin(bytes('image'), bytes('director'));
    expect(store.load()).toEqual({
      pins: { image: bytes('image'), director: bytes('director') },
      image: { root: bytes('image'), floors: { root: 0, timestamp: 0, snapshot: 0, meta: {} } },
      director: { root: bytes('director'), floors: { root: 0, version: 0 } },
      releaseFloors: {},
      highestTimeAt: 0,
      refreshedAt: 0,
      documents: { image: {} },
    });
  });

  it('gives back exactly what was committed last, without documents that are gone', () => {
    store.pin(bytes('image'), bytes('director'));
    const state = changed(store.load()!);
    store.commit(state);
    expect(store.load()).toEqual(state);
    const fewer = { ...state, documents: { image: { timestamp: bytes('t2') } } };
    store.commit(fewer);
    expect(store.load()).toEqual(fewer);
  });

  it('forgets everything when other roots are pinned', () => {
    store.pin(bytes('image'), bytes('director'));
    store.commit(changed(store.load()!));
    store.pin(bytes('image 2'), bytes('director 2'));
    expect(store.load()).toMatchObject({
      releaseFloors: {},
      image: { floors: { root: 0 } },
      documents: { image: {} },
    });
  });
});
