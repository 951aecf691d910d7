/**
 * Readiness: every loaded model is asked one of its own golden vectors, at once when it is loaded and then every 30 s,
 * the next vector each time. Live data plays no part, so a dead sensor does not restart a healthy agent.
 */
import { parseGolden } from '@skein/protocol/manifest.ts';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { compareGolden, type GoldenVector, goldenInputs } from '../update/golden.ts';

const EVERY_MS: Millis = 30_000;
/** A model that was just loaded is tried within this. */
const LOOK_MS: Millis = 1_000;

export interface SelfCheckDeps {
  models(): CurrentModel[];
  infer(model: string, inputs: Tensors): Promise<{ outputs: Tensors }>;
  /** A verified blob. */
  read(sha256: Sha256Hex): Promise<Uint8Array>;
  clock: Clock;
}

export interface SelfCheckResult {
  ok: boolean;
  detail: string;
  at: Millis;
}

export interface SelfCheck {
  start(): void;
  stop(): void;
  /** null: not tried since it was loaded. */
  result(model: CurrentModel): SelfCheckResult | null;
}

interface Known {
  vectors: GoldenVector[];
  next: number;
  triedMono: Millis;
  result: SelfCheckResult;
}

export function selfCheck({ models, infer, read, clock }: SelfCheckDeps): SelfCheck {
  /** By the manifest's hash: a new version is a new entry. */
  let known = new Map<Sha256Hex, Known>();
  let timer: Timer | undefined;
  let stopped = false;

  const vectorsOf = async (model: CurrentModel): Promise<GoldenVector[]> =>
    known.get(model.manifestSha256)?.vectors ??
    parseGolden.parse(await read(model.manifest.golden.sha256), 'golden vectors').vectors;

  async function attempt(model: CurrentModel, vector: GoldenVector): Promise<SelfCheckResult> {
    const { outputs } = await infer(model.manifest.name, goldenInputs(vector, model.loaded.inputs));
    const finding = compareGolden(vector, outputs, model.variant.tolerance);
    return { ok: !finding, detail: finding?.detail ?? 'golden answers', at: clock.now() };
  }

  async function check(model: CurrentModel): Promise<void> {
    const next = known.get(model.manifestSha256)?.next ?? 0;
    let vectors: GoldenVector[] = [];
    let result: SelfCheckResult;
    try {
      vectors = await vectorsOf(model);
      result = await attempt(model, vectors[next % vectors.length]!);
    } catch (error) {
      result = { ok: false, detail: (error as Error).message, at: clock.now() };
    }
    known.set(model.manifestSha256, { vectors, next: next + 1, triedMono: clock.mono(), result });
  }

  async function look(): Promise<void> {
    const running = models();
    const hashes = new Set(running.map((model) => model.manifestSha256));
    known = new Map([...known].filter(([hash]) => hashes.has(hash)));
    for (const model of running) {
      const entry = known.get(model.manifestSha256);
      if (!entry || entry.vectors.length === 0 || clock.mono() - entry.triedMono >= EVERY_MS)
        await check(model);
    }
    if (!stopped) timer = clock.after(LOOK_MS, () => void look());
  }

  return {
    start: () => void look(),
    stop() {
      stopped = true;
      timer?.cancel();
    },
    result: (model) => known.get(model.manifestSha256)?.result ?? null,
  };
}
