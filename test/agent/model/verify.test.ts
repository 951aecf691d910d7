import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { allPassed, type Check, runVerify } from '@skein/agent/model/run-verify.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import { DAY } from '@skein/protocol/units.ts';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { SimulatedTuf, START, sha256, signerOf } from '../../protocol/trust/simulated-repository.ts';

const HOST = fileURLToPath(new URL('../../../models/host/bundle', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'skein-verify-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let bundle: string;
let count = 0;
beforeEach(() => {
  bundle = join(dir, `bundle-${count++}`);
  cpSync(HOST, bundle, { recursive: true });
});
const manifestBytes = () => readFileSync(join(bundle, 'manifest.json'));
const manifest = () => JSON.parse(manifestBytes().toString());
const edit = (change: (manifest: ReturnType<typeof JSON.parse>) => void) => {
  const edited = manifest();
  change(edited);
  writeFileSync(join(bundle, 'manifest.json'), JSON.stringify(edited));
};
const failed = (checks: readonly Check[]) =>
  checks
    .filter(({ ok }) => ok === false)
    .map(({ check, subject, detail }) => `${check} ${subject}: ${detail}`);

describe('verifying a bundle', () => {
  it('passes the host model, each part by itself', async () => {
    const checks = await runVerify(bundle, { now: START });
    expect(allPassed(checks)).toBe(true);
    expect(checks.map(({ check, subject }) => `${check} ${subject}`)).toEqual([
      'manifest manifest.json',
      'blob variant int8',
      'blob variant fp32',
      'blob golden vectors',
      'golden variant int8',
      'golden variant fp32',
    ]);
  });

  it('says which variant was changed, and checks the others all the same', async () => {
    const { sha256: name, size } = manifest().variants[0].file;
    writeFileSync(join(bundle, 'blobs', name), new Uint8Array(size));
    const found = failed(await runVerify(bundle, { now: START }));
    expect(found[0]).toMatch(/^blob variant int8: BLOB_MISMATCH/);
    expect(found[1]).toMatch(/^golden variant int8: MODEL_INVALID/);
    expect(found).toHaveLength(2);
  });

  it('fails a variant that is further from the golden vectors than its manifest allows', async () => {
    edit((m) => {
      m.variants[0].tolerance = 1e-9;
    });
    expect(failed(await runVerify(bundle, { now: START }))).toEqual([
      expect.stringMatching(/^golden variant int8: 0\/8, largest difference .*differs by/),
    ]);
  });

  it('does not run what other hardware runs, and says so', async () => {
    edit((m) => {
      m.variants.push({
        ...m.variants[1],
        id: 'orin',
        backend: 'triton',
        format: 'plan',
        target: 'orin-sm87',
      });
    });
    const checks = await runVerify(bundle, { now: START });
    expect(checks.at(-1)).toMatchObject({ ok: null, detail: 'runs on triton orin-sm87 only' });
    expect(allPassed(checks)).toBe(true);
  });

  it('stops at a manifest that is none', async () => {
    edit((m) => {
      delete m.variants;
    });
    expect(failed(await runVerify(bundle, { now: START }))).toEqual([
      expect.stringMatching(/^manifest manifest.json: MANIFEST_INVALID/),
    ]);
  });
});

describe('verifying signatures', () => {
  /** Signs this manifest and writes the repository's files as a server would serve them. */
  function publish(change: (tuf: SimulatedTuf) => void = () => undefined) {
    const tuf = new SimulatedTuf(`verify ${count}`);
    const bytes = manifestBytes();
    const { name, version } = manifest();
    const custom = { model: name, version, release: 3, floor: 1, tags: [] };
    tuf.targets[manifestPath(name, version)] = {
      length: bytes.length,
      hashes: { sha256: sha256(bytes) },
      custom,
    };
    change(tuf);
    tuf.publish();
    const metadata = join(bundle, 'metadata');
    mkdirSync(metadata);
    for (const [file, text] of Object.entries(tuf.files)) writeFileSync(join(metadata, file), text);
    return { root: join(metadata, '1.root.json'), metadata };
  }
  const signature = async (files: { root: string; metadata: string }, now = START) =>
    (await runVerify(bundle, { ...files, now })).find(({ check }) => check === 'signature')!;

  it('names the signed target of this very manifest', async () => {
    expect(await signature(publish())).toMatchObject({
      ok: true,
      detail: expect.stringContaining('models/host/1.0.0/manifest.json, release 3, floor 1'),
    });
  });

  it('follows a root that was replaced since', async () => {
    expect(await signature(publish((tuf) => tuf.rotate('root')))).toMatchObject({ ok: true });
  });

  it.each([
    [
      'a manifest that was changed after signing',
      'METADATA_DISAGREES',
      () =>
        edit((m) => {
          m.description = 'changed';
        }),
    ],
  ])('refuses %s', async (_what, code, change) => {
    const files = publish();
    change();
    expect(await signature(files)).toMatchObject({ ok: false, detail: expect.stringContaining(code) });
  });

  it('refuses a target that nobody signed, keys that the root does not name, and what expired', async () => {
    const nobody = publish((tuf) => {
      tuf.targets = {};
    });
    expect((await signature(nobody)).detail).toContain('no signed target');
    rmSync(nobody.metadata, { recursive: true });
    const stranger = publish((tuf) => {
      tuf.signers.targets = [signerOf('a stranger')];
    });
    expect((await signature(stranger)).detail).toContain('SIGNATURE_INVALID');
    rmSync(stranger.metadata, { recursive: true });
    expect((await signature(publish(), START + 30 * DAY)).detail).toContain('METADATA_EXPIRED');
  });

  it('says which file of the metadata is missing', async () => {
    const files = publish();
    rmSync(join(files.metadata, 'timestamp.json'));
    expect((await signature(files)).detail).toContain('no timestamp.json');
  });
});
