/** What the publisher made: versions of one model, each with real manifest bytes, and what is wrong with it. */
import { type Manifest, manifestPath, parseManifest } from '@skein/protocol/manifest.ts';
import type { ModelTarget } from '@skein/protocol/orders.ts';
import type { TargetFile } from '@skein/protocol/trust/metadata.ts';
import { DAY, type Sha256Hex } from '@skein/protocol/units.ts';
import { SimulatedTuf, START, sha256 } from '../protocol/trust/simulated-repository.ts';
import type { Chance } from './seeded.ts';

/** How a version harms: each kind is caught at another place. */
export const FLAWS = [
  'golden',
  'crash-in-preflight',
  'crash-in-load',
  'crash-on-run',
  'nan',
  'errors',
  'slow',
] as const;
export type Flaw = (typeof FLAWS)[number] | null;
/** Caught before anything runs, on every device alike. */
export const PREFLIGHT_FLAWS: readonly Flaw[] = ['golden', 'crash-in-preflight'];

export interface SimVersion {
  version: string;
  flaw: Flaw;
  /** Share of the devices on which the flaw shows. */
  flawShare: number;
  release: number;
  manifestSha256: Sha256Hex;
  modelSha256: Sha256Hex;
}

export const MODEL = 'host';
const encoder = new TextEncoder();

export class SimRepository {
  readonly versions = new Map<string, SimVersion>();
  readonly blobs = new Map<Sha256Hex, Uint8Array>();
  /** Signed by real keys, verified by the real client. */
  readonly image = new SimulatedTuf('image');
  readonly director = new SimulatedTuf('director');
  /** Smallest release that offline keys allow. */
  floor = 0;
  readonly #chance: Chance;

  constructor(chance: Chance) {
    this.#chance = chance;
    const late = START + 600 * DAY;
    this.image.expires = { root: late, timestamp: late, snapshot: late, targets: late };
    this.director.expires = { root: late, timestamp: late, snapshot: late, targets: late };
    this.image.publishRoot();
    this.director.publishRoot();
    this.image.publish();
  }

  /** @param floor raises the floor to this release */
  publish(version: string, flaw: Flaw, flawShare = 1, floor = this.floor): SimVersion {
    this.floor = floor;
    const release = this.versions.size + 1;
    const file = this.#store(this.#chance.entropy().bytes(600 + this.#chance.below(600)));
    const golden = this.#store(encoder.encode(JSON.stringify({ golden: version })));
    const manifest = parseManifest.check(manifestOf(version, file, golden), version);
    const target = this.#store(encoder.encode(JSON.stringify(manifest)));
    const custom: ModelTarget = { model: MODEL, version, release, floor, tags: [] };
    const made = {
      version,
      flaw,
      flawShare,
      release,
      manifestSha256: target.sha256,
      modelSha256: file.sha256,
    };
    this.versions.set(version, made);
    const signed: TargetFile = { length: target.size, hashes: { sha256: target.sha256 }, custom };
    this.image.targets = { ...this.image.targets, [manifestPath(MODEL, version)]: signed };
    this.image.publish();
    return made;
  }

  /** What is wrong with this version on this device. */
  flawOn(device: string, { version, flaw, flawShare }: SimVersion): Flaw {
    const dice = Number.parseInt(sha256(`${device} ${version}`).slice(0, 8), 16) / 2 ** 32;
    return dice < flawShare ? flaw : null;
  }

  byModelHash(sha: Sha256Hex): SimVersion | undefined {
    return [...this.versions.values()].find((v) => v.modelSha256 === sha);
  }

  #store(bytes: Uint8Array): { sha256: Sha256Hex; size: number } {
    this.blobs.set(sha256(bytes), bytes);
    return { sha256: sha256(bytes), size: bytes.length };
  }
}

type Ref = { sha256: Sha256Hex; size: number };

export const manifestOf = (version: string, file: Ref, golden: Ref): Manifest => ({
  format: 1,
  name: MODEL,
  version,
  description: 'simulated',
  licence: 'Apache-2.0',
  inputs: [{ name: 'x', type: 'float32', shape: [-1, 4] }],
  outputs: [{ name: 'y', type: 'float32', shape: [-1, 4] }],
  preprocess: {
    kind: 'features',
    features: ['a', 'b', 'c', 'd'],
    window: { size: 1, stride: 1, padding: 'edge' },
    onMissing: 'reject',
  },
  postprocess: { kind: 'reconstruction', output: 'y', unit: 1, threshold: 1 },
  variants: [{ id: 'int8', precision: 'int8', backend: 'onnx', file, tolerance: 0.01, accuracy: null }],
  golden,
  drift: null,
  needs: { memoryBytes: 0, tags: [] },
  quantization: null,
  lineage: { trainedFrom: [] },
});
