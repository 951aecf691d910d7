/** The files that a source or a sink names: relative ones are meant from the configuration's folder. */
import { resolve } from 'node:path';

const KEYS = ['credentials', 'ca', 'certificate', 'key', 'secret'] as const;
type Files = Partial<Record<(typeof KEYS)[number], string>>;

export const filesOf = (config: { [K in keyof Files]?: string | undefined }, folder: string): Files =>
  Object.fromEntries(
    KEYS.flatMap((key) => (config[key] === undefined ? [] : [[key, resolve(folder, config[key])]])),
  );
