/** One check of the doctor: what it found, and what to do about it. */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';

export interface Finding {
  check: string;
  result: 'ok' | 'warning' | 'failed';
  detail: string;
  fix: string | null;
}

/** Says what is well, warns, or throws. */
export type Check = () =>
  | Promise<string | { warning: string; fix: string }>
  | string
  | { warning: string; fix: string };

export const fail = (message: string, fix: string): never => {
  throw new SkeinError('INTERNAL', message, { fix });
};

export async function perform(check: string, run: Check): Promise<Finding> {
  try {
    const said = await run();
    if (typeof said === 'string') return { check, result: 'ok', detail: said, fix: null };
    return { check, result: 'warning', detail: said.warning, fix: said.fix };
  } catch (thrown) {
    const error = asSkeinError(thrown);
    return { check, result: 'failed', detail: error.message, fix: error.fix ?? null };
  }
}
