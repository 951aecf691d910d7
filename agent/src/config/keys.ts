/** The configuration's schema as a tree to walk and as a list of keys for people. */
import type { Node, Path } from './node.ts';
import { ConfigSchema } from './schema.ts';

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
