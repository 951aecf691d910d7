/** One kind of misfortune: how it begins and, when it lasts, how it is undone. */
import type { Field } from '../field.ts';
import type { Strike } from '../plan.ts';

export type Heal = () => Promise<void> | void;

export interface Fault<S extends Strike = Strike> {
  /** Resolves when it is there, with what undoes it; undefined: it does not last. */
  begin(field: Field, strike: S): Promise<Heal | undefined>;
}

export const lifeOf = (field: Field, who: string) => field.lives().get(who)!;
