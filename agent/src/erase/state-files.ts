/**
 * What an agent leaves in its state directory, by name. Anything else there is not its own and stays. A new file of the
 * agent has to be added here: a test starts a whole agent and finds what it left behind.
 */

export interface StateKind {
  kind: string;
  /** Whole names, and beginnings of names (a database, its log, its reserve, its damaged copies). */
  names: readonly string[];
  beginnings: readonly string[];
  /** Filled with zeros before it is removed. Models are large, and came from a server that has them. */
  overwritten: boolean;
}

const secret = (kind: string, names: readonly string[], beginnings: readonly string[] = []): StateKind => ({
  ...{ kind, names, beginnings },
  overwritten: true,
});

/** In the order in which they go: keys first, so that what is left after a power cut is worth the least. */
export const STATE_KINDS: readonly StateKind[] = [
  secret('encryption keys', [], ['at-rest.json', 'at-rest.copy.json']),
  // Without it no agent starts here.
  secret('identity', ['identity']),
  secret('buffer', [], ['outbox.db']),
  secret('trust', [], ['trust.db', 'trust.guard']),
  secret('incidents', [], ['incidents.json']),
  secret('state of updates', [], ['update.db']),
  { kind: 'models and downloads', names: ['models', 'candidates'], beginnings: [], overwritten: false },
  secret('address', ['api.json']),
];

/** undefined: not the agent's. */
export const kindOf = (name: string): StateKind | undefined =>
  STATE_KINDS.find(
    ({ names, beginnings }) =>
      names.includes(name) ||
      beginnings.some((b) => name === b || (/^[-.]/.test(name.slice(b.length)) && name.startsWith(b))),
  );

export const byOrder = (a: string, b: string): number => orderOf(a) - orderOf(b) || (a < b ? -1 : 1);
const orderOf = (name: string): number => STATE_KINDS.indexOf(kindOf(name)!);
