/** The guarded trust state as text and as files: any change to it is damage, and damage is what there is a second copy for. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { decodeGuarded, encodeGuarded, pinnedState } from '@skein/agent/update/trust-state.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LONG, mutations } from '../../mutations.ts';

const HOURS = 3_600_000;
const bytes = (text: string) => new TextEncoder().encode(text);
const { documents: _, ...pinned } = pinnedState(bytes('{"image":1}'), bytes('{"director":1}'));
const state = {
  ...pinned,
  image: {
    ...pinned.image,
    floors: { root: 1, timestamp: 7, snapshot: 7, meta: { 'targets.json': 3, 'ä.json': 1 } },
  },
  director: { ...pinned.director, floors: { root: 1, version: 9 } },
  releaseFloors: { gas: 2 },
  highestTimeAt: 1_800_000_000_000,
};

describe('the text of a guarded state', () => {
  const good = encodeGuarded(41, state);

  it(
    'with any byte changed is the same state or none',
    () => {
      for (const { what, bytes: damaged } of mutations(bytes(good), 200)) {
        const read = decodeGuarded(new TextDecoder().decode(damaged));
        if (read !== undefined) expect(read, what).toEqual({ sequence: 41, state });
      }
    },
    HOURS,
  );

  it('is none where a member stands twice, though its checksum fits', () => {
    expect(decodeGuarded(good.replace('{"sequence":41', '{"sequence":99,"sequence":41'))).toBeUndefined();
  });
});

describe('its files', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'skein-guard-'));
    path = join(folder, 'trust.db');
    use((store) => store.commit({ ...state, documents: { image: { targets: bytes('{}') } } }));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function use<T>(task: (store: SqliteTrustStore) => T): T {
    const store = new SqliteTrustStore(path);
    try {
      return task(store);
    } finally {
      store.close();
    }
  }
  const guarded = () => {
    const { documents: __, ...rest } = use((store) => store.load())!;
    return rest;
  };

  it.each(['trust.db', 'trust.guard'])(
    '%s with any byte changed leaves the other copy to be believed',
    (name) => {
      const file = join(folder, name);
      const good = new Uint8Array(readFileSync(file));
      const other = name === 'trust.db' ? undefined : new Uint8Array(readFileSync(path));
      for (const { what, bytes: damaged } of mutations(good, LONG ? 1000 : 8, false)) {
        writeFileSync(file, damaged);
        expect(guarded(), what).toEqual(state);
        use((store) => store.commit({ ...state, documents: { image: { targets: bytes('{}') } } }));
        expect(guarded(), what).toEqual(state);
        rmSync(`${path}.damaged`, { force: true });
        if (other) writeFileSync(path, other);
      }
    },
    HOURS,
  );

  // biome-ignore format: a table
  it.each([
    ['says that it may only be read',             (file: Buffer) => { file[18] = 3; }],
    ['says that it may not even be read',         (file: Buffer) => { file[19] = 3; }],
    ['is of a format that is not made yet',       (file: Buffer) => { file[47] = 9; }],
    ['has a column of another name',              (file: Buffer) => { file.write('bytez', file.indexOf('bytes BLOB')); }],
    ['has a table that nothing could be put into', (file: Buffer) => { file.write('id = 2', file.indexOf('id = 1')); }],
  ])('a trust.db that %s is made anew from its guard, and can be written to', (_, change) => {
    const file = readFileSync(path);
    change(file);
    writeFileSync(path, file);
    const later = { ...state, highestTimeAt: state.highestTimeAt + 1 };
    use((store) => store.commit({ ...later, documents: { image: { targets: bytes('{"later":1}') } } }));
    expect(guarded()).toEqual(later);
    expect(use((store) => store.load()!.documents.image.targets)).toEqual(bytes('{"later":1}'));
  });

  it('are never both lost to one that is a folder, a terabyte, or gone', () => {
    const guard = join(folder, 'trust.guard');
    truncateSync(guard, 2 ** 40);
    expect(guarded()).toEqual(state);
    rmSync(guard);
    expect(guarded()).toEqual(state);
    mkdirSync(guard);
    expect(guarded()).toEqual(state);
    expect(() => use((store) => store.commit({ ...state, documents: { image: {} } }))).toThrow(SkeinError);
  });
});
