/**
 * Mixed precision by measurement: each node's own harm is measured, and the worst go back to float until the bounds
 * hold. First, what onnxruntime does not load is found by halving, so that no invalid model is ever written.
 */

import type { Comparison } from './compare-outputs.ts';
import { type Bounds, isAccurate } from './judge-quantized.ts';
import { openModel } from './onnx-model.ts';

export type Progress = (done: number, total: number, what: string) => void;

/** One way of writing the model: which of `nodes` are quantized is the caller's choice. */
export interface Writable {
  /** Names of all nodes that may be quantized. */
  nodes: readonly string[];
  write(quantized: ReadonlySet<string>): Uint8Array;
}

export interface Mixed {
  bytes: Uint8Array;
  comparison: Comparison;
  /** Back in float, with the reason. */
  returned: Map<string, string>;
  /** SQNR of the whole model when this node alone is quantized, dB. Empty when the bounds held at once. */
  alone: Map<string, number>;
}

/** More nodes than this are measured in groups of neighbours. */
const MOST_MEASURED = 96;

const loads = (bytes: Uint8Array): Promise<string | undefined> =>
  openModel(bytes).then(
    async (session) => {
      await session.close();
      return undefined;
    },
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );

/** What can not be written or loaded, alone or with others, each with onnxruntime's words. */
export async function unloadable({ nodes, write }: Writable): Promise<Map<string, string>> {
  const bad = new Map<string, string>();
  const attempt = (names: readonly string[]) => loads(write(new Set(names)));
  const narrow = async (names: readonly string[]): Promise<void> => {
    const why = await attempt(names);
    if (why === undefined) return;
    if (names.length === 1) bad.set(names[0]!, `onnxruntime does not take it: ${why}`);
    else {
      const half = names.length >> 1;
      await narrow(names.slice(0, half));
      await narrow(names.slice(half));
    }
  };
  await narrow(nodes);
  // Both halves may load and not the whole: then nodes join one by one.
  const rest = nodes.filter((name) => !bad.has(name));
  if (rest.length === 0 || (await attempt(rest)) === undefined) return bad;
  const good: string[] = [];
  for (const name of rest) {
    const why = await attempt([...good, name]);
    if (why === undefined) good.push(name);
    else bad.set(name, `onnxruntime does not take it beside the others: ${why}`);
  }
  return bad;
}

function grouped(nodes: readonly string[]): string[][] {
  const size = Math.ceil(nodes.length / MOST_MEASURED);
  return Array.from({ length: Math.ceil(nodes.length / size) }, (_, i) =>
    nodes.slice(i * size, (i + 1) * size),
  );
}

async function harms(
  { nodes, write }: Writable,
  rank: Measures['rank'],
  onProgress: Progress,
): Promise<{ names: string[]; db: number }[]> {
  const groups = grouped(nodes);
  const found: { names: string[]; db: number }[] = [];
  for (const [i, names] of groups.entries()) {
    onProgress(i, groups.length, `what ${names[0]} costs in int8`);
    found.push({ names, db: (await rank(write(new Set(names)))).sqnrDb });
  }
  return found.sort((a, b) => a.db - b.db);
}

/** Against the float model, on calibration data. */
export interface Measures {
  measure(bytes: Uint8Array): Promise<Comparison>;
  /** On fewer samples: enough to tell which node harms most. */
  rank(bytes: Uint8Array): Promise<Comparison>;
}

export async function mixPrecision(
  writable: Writable,
  { measure, rank }: Measures,
  bounds: Bounds,
  onProgress: Progress,
): Promise<Mixed> {
  const { nodes, write } = writable;
  const all = write(new Set(nodes));
  const whole: Mixed = {
    bytes: all,
    comparison: await measure(all),
    returned: new Map(),
    alone: new Map(),
  };
  if (isAccurate(whole.comparison, bounds) || nodes.length < 2) return whole;
  const ranked = await harms(writable, rank, onProgress);
  const alone = new Map(ranked.flatMap(({ names, db }) => names.map((name) => [name, db] as const)));
  const without = async (count: number): Promise<Mixed> => {
    const returned = new Map(
      ranked.slice(0, count).flatMap(({ names, db }) => {
        const reason = `costs most: alone it leaves ${db.toFixed(1)} dB`;
        return names.map((name) => [name, reason] as const);
      }),
    );
    const bytes = write(new Set(nodes.filter((name) => !returned.has(name))));
    return { bytes, comparison: await measure(bytes), returned, alone };
  };
  // Fewest nodes in float: the bound is nearly monotone in their number, so it is found by halving.
  let found: Mixed | undefined;
  for (let low = 1, high = ranked.length - 1; low <= high; ) {
    const middle = (low + high) >> 1;
    onProgress(middle, ranked.length, `${middle} of ${ranked.length} nodes in float`);
    const tried = await without(middle);
    if (isAccurate(tried.comparison, bounds)) [found, high] = [tried, middle - 1];
    else low = middle + 1;
  }
  return found ?? { ...whole, alone };
}
