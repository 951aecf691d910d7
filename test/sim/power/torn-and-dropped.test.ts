/**
 * Updates on the simulated disk, through power cuts that tear what was not synced, and on disks that lie also take what was:
 * by the thousand from one seed. Nothing but signed bytes is ever loaded, no order ends for what the disk did, and the last
 * order is carried out.
 */
import { randomInt } from 'node:crypto';
import { UpdateRunner } from '@skein/agent/update/run-update.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { MINUTE } from '@skein/protocol/units.ts';
import { expect, it } from 'vitest';
import type { AgreedOrder, TrustedView } from '../../../agent/src/update/ports.ts';
import { agreedOrder } from '../../agent/update/example.ts';
import { manifestFor } from '../../agent/update/manifest.ts';
import { sha256 } from '../../protocol/trust/simulated-repository.ts';
import { SimDisk, simSlots, simUpdateStore } from '../disk.ts';
import { Chance } from '../seeded.ts';
import { VirtualTime } from '../virtual-time.ts';

const SEED = Number(process.env.SKEIN_SIM_SEED ?? randomInt(2 ** 31));
const LIVES = process.env.SKEIN_LONG === '1' ? 10_000 : 150;
const VERSIONS = ['1.0.0', '1.1.0', '1.2.0'];
const CUTS_AN_ORDER = 4;
const CHUNK = 64;
const quiet = { info() {}, warn() {}, error() {} };
const GOOD = { code: null, detail: null, golden: { passed: 3, total: 3 }, environment: false };

/** A published version: its order, and its blobs by hash. */
function publish(version: string, blobs: Map<string, Uint8Array>): AgreedOrder {
  const put = (bytes: Uint8Array) => {
    blobs.set(sha256(bytes), bytes);
    return { sha256: sha256(bytes), size: bytes.length };
  };
  const model = put(Buffer.from(`model ${version}`.repeat(40)));
  const manifest = put(Buffer.from(JSON.stringify(manifestFor(version, model, put(Buffer.from(version))))));
  const path = `models/host/${version}/manifest.json`;
  return { ...agreedOrder(`o-${version}`, version), target: { path, sizeBytes: manifest.size, ...manifest } };
}

class Device {
  readonly disk = new SimDisk();
  readonly outcomes: string[] = [];
  readonly time = new VirtualTime();
  readonly chance: Chance;
  readonly #blobs: ReadonlyMap<string, Uint8Array>;
  order: AgreedOrder | undefined;
  runner: UpdateRunner | undefined;
  #life = 0;
  #lied = false;

  constructor(seed: number, blobs: ReadonlyMap<string, Uint8Array>) {
    this.chance = new Chance(seed);
    this.#blobs = blobs;
  }

  boot(): void {
    const life = ++this.#life;
    const alive = () => this.#life === life;
    const never = () => new Promise<never>(() => {});
    const clock = this.time.clock(alive);
    const store = simUpdateStore(this.disk);
    let refreshedMono = Number.NEGATIVE_INFINITY;
    const view = (): TrustedView => {
      const [orders, none] = [this.order ? [this.order] : [], []];
      return { directorVersion: 1, orders, refused: none, ackKeys: none, refreshedMono, refreshedAt: 0 };
    };
    const blobs = this.#blobs;
    const { time, chance } = this;
    this.runner = new UpdateRunner({
      fetcher: {
        document: async () => undefined,
        async *blob(hash, offset) {
          for (let at = offset; at < blobs.get(hash)!.length; at += CHUNK) {
            await time.wait(chance.between(1, 200));
            if (!alive()) return never();
            yield blobs.get(hash)!.subarray(at, at + CHUNK);
          }
        },
      },
      slots: simSlots(this.disk),
      store: { ...store, save: (model, state) => void (alive() && store.save(model, state)) },
      trust: {
        view,
        spokenAgainst: () => ({ barred: [], releaseFloors: {} }),
        refresh: async () => {
          refreshedMono = clock.mono();
          return view();
        },
      },
      preflight: {
        run: async ({ variant }) => {
          await time.wait(500);
          if (!alive()) return never();
          const loaded = this.#hashOf(variant.file.sha256);
          if (loaded === variant.file.sha256) return { ...GOOD, ok: true, loaded };
          return { ...GOOD, ok: false, code: 'BLOB_MISMATCH', loaded: null, environment: true };
        },
      },
      runtime: {
        activate: async ({ manifest, variant }) => {
          if (!alive()) return never();
          const loaded = this.#hashOf(variant.file.sha256);
          if (loaded === undefined) throw new SkeinError('MODEL_INVALID', 'it can not be read');
          if (loaded !== variant.file.sha256) throw new SkeinError('BLOB_MISMATCH', 'it changed on disk');
          expect(blobs.has(loaded) && manifest.name).toBe('host');
          return { loaded };
        },
        deactivate: async () => {},
        stats: () => ({ inferences: 50, errors: 0, notFinite: 0, p95LatencyUs: 500, p95AtLeastUs: 400 }),
      },
      reports: { report: ({ outcome }) => void this.outcomes.push(outcome) },
      clock,
      entropy: chance.entropy(),
      log: quiet,
    });
    const { runner } = this;
    void runner.start().then(() => (alive() ? runner.refresh() : undefined));
  }

  /** Ends this life, unless a new model is on trial: a third death there would rightly be held against it. */
  cut(): boolean {
    const phase = this.runner?.states()[0]?.phase.name;
    if (phase === 'activating' || phase === 'probation') return false;
    this.#life++;
    // A disk that never kept the end of a start would rightly count three of them.
    this.#lied = !this.#lied && this.chance.is(0.6);
    this.disk.crash(this.chance, this.#lied);
    return true;
  }

  async pass(ms: number): Promise<void> {
    await new Promise<void>((done) => setImmediate(done));
    const end = this.time.now + ms;
    this.time.after(ms, () => {});
    while (await this.time.step(end)) {}
  }

  #hashOf(sha: string): string | undefined {
    const bytes = this.disk.blobs.get(sha);
    return bytes && sha256(bytes);
  }
}

it('updates that lose power again and again, on disks that tear and lie, load nothing unsigned and finish', async () => {
  const blobs = new Map<string, Uint8Array>();
  const orders = VERSIONS.map((version) => publish(version, blobs));
  let cuts = 0;
  for (let nth = 0; nth < LIVES; nth++) {
    const device = new Device(SEED + nth, blobs);
    for (const order of orders) {
      device.order = order;
      device.boot();
      for (let cut = 0; cut < CUTS_AN_ORDER; cut++) {
        await device.pass(device.chance.between(50, device.chance.pick([500, 5_000, 60_000])));
        if (!device.cut()) continue;
        cuts++;
        device.boot();
      }
      await device.pass(30 * MINUTE);
      const [state] = device.runner!.states();
      const found = [device.runner!.active('host')?.version, state?.committed?.version, state?.phase.name];
      expect(found, `SKEIN_SIM_SEED=${SEED + nth}`).toEqual([
        order.order.version,
        order.order.version,
        'idle',
      ]);
    }
    const bad = device.outcomes.filter((outcome) => outcome === 'reverted' || outcome === 'refused');
    expect(bad, `SKEIN_SIM_SEED=${SEED + nth}`).toEqual([]);
  }
  console.log(`torn and dropped syncs: ${LIVES} devices, ${cuts} power cuts, SKEIN_SIM_SEED=${SEED}`);
}, 3_600_000);
