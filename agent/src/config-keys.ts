/** The configuration's schema as a tree to walk and as a list of keys for people. */
import { ConfigSchema } from './config.ts';
import type { Unit } from './config-units.ts';

export type Path = (string | number)[];

/** What is read of a schema node. */
export interface Node {
  type?: string;
  properties?: Record<string, Node>;
  items?: Node;
  /** A map with keys of the user's: the one schema of its values, by the pattern of its keys. */
  patternProperties?: Record<string, Node>;
  enum?: string[];
  default?: unknown;
  unit?: Unit;
  minimum?: number;
  maximum?: number;
  description?: string;
  expected?: string;
  /** In a list whose entries have a `kind`: those that read this key, and those that cannot do without it. */
  kinds?: readonly string[];
  neededBy?: readonly string[];
}
export const ROOT = ConfigSchema as unknown as Node;

export const nodeAt = (path: Path): Node | undefined =>
  path.reduce<Node | undefined>(
    (node, step) =>
      typeof step === 'number' ? node?.items : (node?.properties?.[step] ?? (node && valuesOf(node))),
    ROOT,
  );

/** The schema of a map's values. */
export const valuesOf = (node: Node): Node | undefined => Object.values(node.patternProperties ?? {})[0];

export interface ConfigKey {
  key: string;
  /** null: it can only be set in the file. */
  variable: string | null;
  default: unknown;
  values: string;
  description: string;
}

/** Every key, for documentation and for environment variables; those inside lists have no variable. */
export function configKeys(schema: Node = ROOT, path: string[] = [], inList = false): ConfigKey[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, node]) => {
    const whole = [...path, key];
    if (node.properties) return configKeys(node, whole, inList);
    const entries = valuesOf(node);
    const variable = inList || node.items?.properties || entries ? null : variableOf(whole);
    const values = node.enum?.join(' | ') ?? node.unit ?? node.type ?? '';
    const described = { default: node.default, values, description: wordsOf(node) };
    const below = node.items?.properties
      ? configKeys(node.items, [...path, `${key}[]`], true)
      : entries
        ? configKeys(entries, [...whole, 'NAME'], true)
        : [];
    return [{ key: whole.join('.'), variable, ...described }, ...below];
  });
}

const wordsOf = ({ kinds, description = '' }: Node): string =>
  kinds ? `For ${kinds.join(', ')}. ${description}` : description;

const variableOf = (path: string[]): string =>
  `SKEIN_AGENT_${path.map((part) => part.replace(/([A-Z])/g, '_$1').toUpperCase()).join('_')}`;
