/** What a rule of one kind finds wrong; `key` undefined: the entry as a whole. */
export interface Fault {
  key?: string;
  what: string;
  fix?: string;
}

/** What the schema cannot say. `given`: the keys that were written. */
export type KindRule<T> = (entry: T, given: ReadonlySet<string>) => Fault | undefined;
