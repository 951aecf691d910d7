/**
 * Which document speaks about a target: pre-order depth-first search in order of appearance (TUF 1.0.34, clause
 * 5.6.7), stopped by terminating delegations, cycles and {@link MAX_VISITED} roles. The search is a generator that
 * asks for the role it needs next, so it needs neither network nor disk; each role is verified under the delegator
 * on the current path, never under one of an earlier path (diamond delegation).
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import type { DelegatedRole, TargetFile, Targets } from './metadata.ts';
import type { Delegator } from './trusted-set.ts';

const MAX_VISITED = 32;

export interface RoleWanted {
  role: string;
  delegator: Delegator;
}

/** Yields the delegated role it needs, takes that role's verified targets, returns the target if any speaks of it. */
export function* searchTarget(
  top: Targets,
  path: string,
): Generator<RoleWanted, TargetFile | undefined, Targets> {
  const visited = new Set<string>(['targets']);
  let stack: RoleWanted[] = [];
  let current: Delegator = { name: 'targets', targets: top };
  for (;;) {
    // 5.6.7.1: this role speaks of it.
    if (Object.hasOwn(current.targets.targets, path)) return current.targets.targets[path];
    // 5.6.7.2: in order of appearance; 4.5: only roles that are trusted with the path, at every step of the way.
    const children = delegatesFor(current.targets, path);
    // 5.6.7.2.1: nothing after a terminating delegation is asked, here or further up.
    if (children.some((child) => child.terminating)) stack = [];
    const delegator = current;
    stack.push(...children.map((child) => ({ role: child.name, delegator })).reverse());
    const next = takeUnvisited(stack, visited);
    if (!next) return undefined;
    current = { name: next.role, targets: yield next };
  }
}

/** 5.6.7.1: roles visited before are skipped; beyond the bound the search ends. */
function takeUnvisited(stack: RoleWanted[], visited: Set<string>): RoleWanted | undefined {
  let next = stack.pop();
  while (next && visited.has(next.role)) next = stack.pop();
  if (!next || visited.size > MAX_VISITED) return undefined;
  visited.add(next.role);
  return next;
}

/** Delegations whose paths cover `path`, up to and with the first terminating one. */
function delegatesFor(targets: Targets, path: string): DelegatedRole[] {
  const matching = (targets.delegations?.roles ?? []).filter((role) => covers(role, path));
  const last = matching.findIndex((role) => role.terminating);
  return last < 0 ? matching : matching.slice(0, last + 1);
}

function covers(role: DelegatedRole, path: string): boolean {
  if (role.path_hash_prefixes) {
    const hash = bytesToHex(sha256(new TextEncoder().encode(path)));
    return role.path_hash_prefixes.some((prefix) => hash.startsWith(prefix));
  }
  return (role.paths ?? []).some((pattern) => matchesPattern(pattern, path));
}

/** Clause 4.5: `*` and `?` match within one path segment, everything else only itself. */
export function matchesPattern(pattern: string, path: string): boolean {
  const patterns = pattern.split('/');
  const segments = path.split('/');
  return patterns.length === segments.length && patterns.every((p, at) => matchesSegment(p, segments[at]!));
}

/** Greedy with one point to return to: quadratic at worst, where a regular expression could be exponential. */
function matchesSegment(pattern: string, text: string): boolean {
  let [p, t, star, mark] = [0, 0, -1, 0];
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++mark;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
