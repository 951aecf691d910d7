/** Encryption of what lies on this device's disk: where its key comes from. Off while no key is named. */
import { strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';
import { problem, type Where } from './problem.ts';
import { choice, optionalText } from './types.ts';

const WAYS = ['credential', 'command', 'file'] as const;

/** @param of which key */
const ways = (of: string) => ({
  credential: optionalText(
    128,
    `${of} from systemd: a name that LoadCredential= or LoadCredentialEncrypted= gives`,
    {
      pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$',
      expected: 'the name of a credential',
    },
  ),
  command: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), {
      minItems: 1,
      maxItems: 64,
      description: `${of} as a program prints it: its path and words, without a shell`,
    }),
  ),
  file: optionalText(4096, `${of} in a file; on the disk that holds the data it protects nothing`),
});

export const AtRestConfig = strict({
  ...ways('The key'),
  write: choice(
    ['encrypted', 'plain'],
    'encrypted',
    'plain: what is encrypted is brought back into clear; then this section may be removed',
  ),
  previous: strict(ways('While the key is changed, the one before,')),
});
export type AtRestConfig = Static<typeof AtRestConfig>;
export type KeyWay = Pick<AtRestConfig, 'credential' | 'command' | 'file'>;

const waysIn = (config: KeyWay): string[] => WAYS.filter((way) => config[way] !== undefined);

/** Which key is meant must not be guessed, and what does nothing misleads. @throws SkeinError CONFIG_INVALID */
export function checkAtRest(config: AtRestConfig, where: Where): void {
  for (const [path, key] of [
    [['atRest'], config],
    [['atRest', 'previous'], config.previous],
  ] as const) {
    const [first, second] = waysIn(key);
    if (second) throw problem(where([...path, second]), [...path, second], `cannot stand beside ${first}`);
  }
  if (waysIn(config).length > 0) return;
  const idle =
    config.write === 'plain' ? 'write' : waysIn(config.previous).length > 0 ? 'previous' : undefined;
  if (idle)
    throw problem(
      where(['atRest', idle]),
      ['atRest', idle],
      'needs `credential`, `command` or `file` beside it',
    );
}
