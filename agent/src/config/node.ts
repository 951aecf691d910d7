/** A node of the configuration's schema, as far as it is read, and where a value stands. */
import type { Unit } from './units.ts';

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
