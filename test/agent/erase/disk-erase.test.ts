import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { belongingsIn, eraseState, measure } from '../../../agent/src/erase/disk-erase.ts';
import { kindOf } from '../../../agent/src/erase/state-files.ts';

let folder: string;
const at = (...names: string[]) => join(folder, 'state', ...names);
const put = (name: string, text = `secret of ${name}`) => {
  mkdirSync(join(at(name), '..'), { recursive: true });
  writeFileSync(at(name), text);
};

/** As far as agents are known to leave files. */
const OWN = [
  ...['identity/identity.json', 'identity/identity.json.part', 'at-rest.json', 'at-rest.copy.json.part'],
  ...['outbox.db', 'outbox.db-wal', 'outbox.db-shm', 'outbox.db.reserve', 'outbox.db.seen', 'outbox.db.mark'],
  ...['outbox.db.corrupt-17', 'outbox.db.corrupt-17-wal', 'trust.db', 'trust.db-journal', 'trust.db.damaged'],
  ...['trust.guard', 'update.db', 'update.db-wal', 'update.db.damaged', 'incidents.json', 'api.json'],
  ...[`models/${'a'.repeat(64)}`, `models/${'b'.repeat(64)}.part`, 'candidates/x'],
];
const OTHERS = ['agent.yaml', 'operator.json', 'server/store.db', 'outbox.dbx', 'trusted', 'modelsX/y'];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-erase-'));
  for (const name of [...OWN, ...OTHERS]) put(name);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('erasing an agent’s state', () => {
  it('removes all that is its own, says what, and touches nothing else', () => {
    const planned = measure(at());
    expect(existsSync(at('outbox.db'))).toBe(true);
    const removed = eraseState(at());
    expect(removed).toEqual(planned);
    expect(removed.map(({ kind, files }) => [kind, files])).toEqual([
      ['encryption keys', 2],
      ['identity', 2],
      ['buffer', 8],
      ['trust', 4],
      ['incidents', 1],
      ['state of updates', 3],
      ['models and downloads', 3],
      ['address', 1],
    ]);
    const left = [...new Set(OTHERS.map((name) => name.split('/')[0]!))].sort();
    expect(readdirSync(at()).sort()).toEqual(left);
    expect(belongingsIn(at())).toEqual({ own: [], others: expect.arrayContaining(left) });
    expect(readFileSync(at('server/store.db'), 'utf8')).toBe('secret of server/store.db');
  });

  it('fills files with zeros before they go, models not', () => {
    put('trust.db', 'x'.repeat(1024 * 1024 + 5));
    for (const name of ['trust.db', 'outbox.db', `models/${'a'.repeat(64)}`])
      linkSync(at(name), join(folder, name.split('/')[0]!));
    eraseState(at());
    const now = (name: string) => readFileSync(join(folder, name));
    expect(now('trust.db')).toEqual(Buffer.alloc(1024 * 1024 + 5));
    expect(now('outbox.db')).toEqual(Buffer.alloc('secret of outbox.db'.length));
    expect(now('models').includes('secret')).toBe(true);
  });

  it('goes on from wherever it was killed', () => {
    for (let crash = 1; crash <= OWN.length + 1; crash += 4) {
      for (const name of OWN) put(name);
      let left = crash;
      const killed = () => {
        if (--left === 0) throw new Error('killed');
      };
      try {
        eraseState(at(), killed);
      } catch {
        // No agent starts any more once anything else than keys is gone.
        if (crash > 4) expect(existsSync(at('identity/identity.json'))).toBe(false);
      }
      eraseState(at());
      expect(belongingsIn(at()).own).toEqual([]);
    }
  });

  it('does not follow links', () => {
    const outside = join(folder, 'outside');
    writeFileSync(outside, 'not ours');
    symlinkSync(outside, at('models', 'link'));
    rmSync(at('outbox.db'));
    symlinkSync(outside, at('outbox.db'));
    eraseState(at());
    expect(readFileSync(outside, 'utf8')).toBe('not ours');
  });

  it('has nothing to do where nothing is', () => {
    expect(eraseState(join(folder, 'none'))).toEqual([]);
    expect(belongingsIn(join(folder, 'none'))).toEqual({ own: [], others: [] });
  });

  it.each(['outbox.dbx', 'outbox', 'identityX', 'model', 'agent.lock', 'trust', ''])('leaves %j', (name) => {
    expect(kindOf(name)).toBeUndefined();
  });
});
