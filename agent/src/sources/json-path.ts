/**
 * The part of JSONPath (RFC 9535) that names one value: `$`, `.name`, `['name']`, `[0]`. At most 32 steps; only an
 * object's own members are followed.
 */
export type JsonPath = readonly (string | number)[];

const STEP = /\.([A-Za-z_][\w-]*)|\[(\d{1,6})\]|\['([^'\\]{1,256})'\]|\["([^"\\]{1,256})"\]/y;
const MAX_STEPS = 32;

/** undefined: not such a path. */
export function parseJsonPath(text: string): JsonPath | undefined {
  if (!text.startsWith('$')) return undefined;
  const steps: (string | number)[] = [];
  STEP.lastIndex = 1;
  let at = 1;
  while (at < text.length) {
    const match = STEP.exec(text);
    if (!match || steps.length === MAX_STEPS) return undefined;
    const [, dotted, index, single, double] = match;
    steps.push(index === undefined ? (dotted ?? single ?? double)! : Number(index));
    at = STEP.lastIndex;
  }
  return steps;
}

/** undefined: nothing is there. */
export function valueAt(root: unknown, path: JsonPath): unknown {
  let at = root;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}
