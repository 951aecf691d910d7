/** `skein-agent source test` on real sources, with the model of this repository as an agent would have installed it. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { testSource } from '../../../agent/src/cli/source-test.ts';
import { sourceTestText } from '../../../agent/src/cli/tables.ts';
import { parseYaml } from '../../../agent/src/cli/yaml-file.ts';
import { parseConfig } from '../../../agent/src/config/parse.ts';
import { hashOf } from '../../../agent/src/model/bundle.ts';
import { readBundle } from '../../../agent/src/model/disk-bundle.ts';
import { openUpdateStore } from '../../../agent/src/update/sqlite-update-store.ts';
import { newUpdateState } from '../../../agent/src/update/state.ts';

const root = mkdtempSync(join(tmpdir(), 'skein-source-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const BUNDLE = join(import.meta.dirname, '../../../models/host/bundle');

/** As an update leaves it; `store` stays open, as a running agent holds it. */
async function installed() {
  const stateDir = mkdtempSync(join(root, 'state-'));
  const { manifest, manifestBytes } = await readBundle(BUNDLE);
  const [variant] = manifest.variants;
  mkdirSync(join(stateDir, 'models'));
  const manifestSha = hashOf(manifestBytes);
  writeFileSync(join(stateDir, 'models', manifestSha), manifestBytes);
  for (const name of readdirSync(join(BUNDLE, 'blobs')))
    copyFileSync(join(BUNDLE, 'blobs', name), join(stateDir, 'models', name));
  const store = openUpdateStore(join(stateDir, 'update.db'));
  const release = {
    version: manifest.version,
    manifest: { sha256: manifestSha, size: manifestBytes.length },
    variant: variant!.id,
    model: variant!.file,
    golden: manifest.golden,
    order: { id: 'o', rollout: 'r' },
  };
  store.save('host', JSON.stringify({ ...newUpdateState('host'), committed: release }));
  return { stateDir, store, version: manifest.version };
}

function test(
  source: Record<string, unknown>,
  stateDir: string,
  seconds = 1,
  stopped = new Promise<void>(() => {}),
) {
  const text = JSON.stringify({ stateDir, sources: [{ name: 'probe', model: 'host', ...source }] });
  const ticks: number[] = [];
  const config = parseConfig(parseYaml(text, 'agent.yaml'), {});
  const report = testSource({
    settings: { config, file: undefined },
    name: 'probe',
    seconds,
    stopped,
    begun: () => {},
    tick: (tally) => ticks.push(tally.readings),
  });
  return { report, ticks };
}

/** Every file with its bytes: what must not change. */
const contents = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => `${path} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`);

describe('trying a source', () => {
  it('shows rate, size, latency and what the installed model says, and writes nothing beside a running agent', async () => {
    const { stateDir, store, version } = await installed();
    const before = contents(stateDir);
    expect(before.some((line) => line.includes('update.db-wal'))).toBe(true);
    const { report } = test({ kind: 'host', period: '50ms' }, stateDir, 2);
    const found = await report;
    expect(contents(stateDir)).toEqual(before);
    store.close();
    expect(found).toMatchObject({
      kind: 'host',
      notes: [],
      bad: 0,
      dropped: 0,
      size: { of: 'values' },
      prediction: { version, label: expect.any(String) },
      reason: null,
    });
    expect(found.readings).toBeGreaterThan(5);
    expect(found.perSecond).toBeGreaterThan(2);
    expect(found.predictions).toBe(found.readings);
    expect(found.latencyMs!.max).toBeGreaterThanOrEqual(found.latencyMs!.p50);
    expect(sourceTestText(found)).toMatch(/probe \(host\): delivers\nlatest: .*\nprediction: /s);
  });

  it('shows the values where no model is installed, and says so', async () => {
    const state = join(root, 'none');
    const found = await test(
      { kind: 'command', command: `echo '{"a":1.5,"b":2}'; echo nope; sleep 9` },
      state,
    ).report;
    expect(found).toMatchObject({
      readings: 1,
      bad: 1,
      latencyMs: null,
      latest: { values: { a: 1.5, b: 2 } },
      problem: { message: expect.stringMatching(/“nope” is not JSON/) },
      notes: [expect.stringMatching(/No model host is installed/)],
    });
    expect(() => readdirSync(state)).toThrow('ENOENT');
  });

  it.each([
    [
      'a command that ends',
      { kind: 'command', command: 'echo broken >&2; exit 4' },
      /exit code 4: broken/,
      /by hand: echo broken/,
    ],
    [
      'a broker that is gone',
      { kind: 'mqtt', url: 'mqtt://127.0.0.1:1', topic: 'a' },
      /ECONNREFUSED/,
      /broker runs/,
    ],
    [
      'a file that is gone',
      { kind: 'csv', path: '/nowhere/a.csv' },
      /cannot read .*ENOENT/,
      /Check the source/,
    ],
    ['a silent command', { kind: 'command', command: 'sleep 9' }, /nothing came within/, /printed no line/],
  ])('says of %s why nothing came, and what to do', async (_, source, reason, fix) => {
    const found = await test(source, join(root, 'none'), 0.5).report;
    expect(found).toMatchObject({
      readings: 0,
      reason: expect.stringMatching(reason),
      fix: expect.stringMatching(fix),
    });
    expect(sourceTestText(found)).toMatch(/NO READING: .*\n {2}→ /s);
  });

  it('takes pushed readings at a port of its own, and ends when told to', async () => {
    const text = JSON.stringify({
      stateDir: join(root, 'none'),
      sources: [{ name: 'line', model: 'm', kind: 'http' }],
    });
    let stop = (): void => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const found = await testSource({
      settings: { config: parseConfig(parseYaml(text, 'agent.yaml'), {}), file: undefined },
      name: 'line',
      seconds: 3_600,
      stopped,
      tick: () => {},
      begun(notes) {
        const url = /http:\S+/.exec(notes.join('\n'))![0];
        setImmediate(async () => {
          await fetch(url, { method: 'POST', body: '[{"a":1},{"a":2}]' });
          await fetch(url, { method: 'POST', body: 'no' });
          stop();
        });
      },
    });
    expect(found).toMatchObject({ readings: 2, bad: 1, latest: { values: { a: 2 } } });
  });

  it('knows no source of another name, and says which there are', async () => {
    const config = parseConfig(parseYaml('', 'agent.yaml'), {});
    const rest = { seconds: 1, stopped: new Promise<void>(() => {}), begun: () => {}, tick: () => {} };
    await expect(
      testSource({ ...rest, settings: { config, file: 'a.yaml' }, name: 'hots' }),
    ).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: 'no source hots in a.yaml',
      fix: 'There are: host.',
    });
  });
});
