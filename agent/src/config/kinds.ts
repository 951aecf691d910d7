/**
 * Lists whose entries have a `kind`: each key is read by some kinds only. A key that would do nothing is refused, because
 * whoever wrote it believes that it does something; so is an entry without what its kind needs, and a name used twice.
 */
import type { SkeinError } from '@skein/protocol/errors.ts';
import type { Fault, KindRule } from './fault.ts';
import type { Node } from './node.ts';
import { problem, type Where } from './problem.ts';
import { isObject } from './variables.ts';

export interface Kinded {
  name: string;
  kind: string;
}

export interface KindedList<T extends Kinded> {
  /** Key of the list, and one of its entries in words. */
  list: string;
  what: string;
  /** Schema of an entry. */
  schema: Node;
  rule: KindRule<T>;
}

/** @param written the list as the file has it, before defaults. @throws SkeinError CONFIG_INVALID */
export function checkKinds<T extends Kinded>(
  { list, what, schema, rule }: KindedList<T>,
  entries: readonly T[],
  written: unknown,
  where: Where,
): void {
  const names = new Set<string>();
  entries.forEach((entry, i) => {
    const given = new Set(Array.isArray(written) && isObject(written[i]) ? Object.keys(written[i]) : []);
    const fault = kindFault(schema, what, entry.kind, given) ?? rule(entry, given);
    if (fault) throw faultAt([list, i], fault, where);
    if (names.has(entry.name))
      throw faultAt([list, i], { key: 'name', what: `${entry.name} is used twice` }, where);
    names.add(entry.name);
  });
}

function faultAt(entry: (string | number)[], { key, what, fix }: Fault, where: Where): SkeinError {
  const path = key === undefined ? entry : [...entry, key];
  return problem(where(path), path, what, fix);
}

function kindFault(schema: Node, what: string, kind: string, given: ReadonlySet<string>): Fault | undefined {
  const keys = Object.entries(schema.properties ?? {});
  const idle = keys.find(([key, node]) => given.has(key) && node.kinds && !node.kinds.includes(kind));
  if (idle) {
    const [key, node] = idle;
    const readable = keys
      .filter(([, each]) => !each.kinds || each.kinds.includes(kind))
      .map(([each]) => each);
    return {
      key,
      what: `does nothing for a ${what} of kind ${kind}; it is for ${node.kinds!.join(', ')}`,
      fix: `Remove it, or correct \`kind\`. A ${what} of kind ${kind} takes: ${readable.join(', ')}.`,
    };
  }
  const absent = keys.find(([key, node]) => node.neededBy?.includes(kind) && !given.has(key));
  if (!absent) return undefined;
  return {
    what: `a ${what} of kind ${kind} needs \`${absent[0]}\``,
    fix: `Add \`${absent[0]}\`: ${absent[1].description}.`,
  };
}
