/** Addresses of local peers: a scheme that fits, a host, no password, and TLS keys only where there is TLS. */
import type { Fault } from './fault.ts';

const URL_SHAPE = /^([a-z]+):\/\/([^\s/?#]+)([/?][^\s#]*)?$/;
const TLS_KEYS = ['ca', 'certificate', 'key'];

/** @param schemes the plain one, then its TLS form. */
export function urlFault(
  url: string,
  schemes: readonly [string, string],
  given: ReadonlySet<string>,
): Fault | undefined {
  const [, scheme = '', authority = ''] = URL_SHAPE.exec(url) ?? [];
  if (authority.includes('@'))
    return {
      key: 'url',
      what: 'must not hold a user or password',
      fix: 'Write `user:password` into a file of its own and name that file in `credentials`.',
    };
  if (!schemes.includes(scheme) || !isAuthority(authority))
    return {
      key: 'url',
      what: `must begin with ${schemes.map((each) => `${each}://`).join(' or ')} and name a host`,
      fix: `Like ${schemes[1]}://192.168.1.20:8883 or ${schemes[0]}://localhost.`,
    };
  const key = scheme === schemes[1] ? undefined : TLS_KEYS.find((each) => given.has(each));
  return key === undefined
    ? undefined
    : { key, what: `does nothing without TLS`, fix: `Write the address as ${schemes[1]}://…, or remove it.` };
}

/** `host`, `host:port`, `[v6]:port`. */
function isAuthority(text: string): boolean {
  const [, port] = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(text) ?? [
    undefined,
    '99999',
  ];
  return port === undefined || (Number(port) > 0 && Number(port) < 65_536);
}

/** A client certificate comes with its key. */
export const pairFault = (given: ReadonlySet<string>): Fault | undefined => {
  if (given.has('certificate') === given.has('key')) return undefined;
  const absent = given.has('key') ? 'certificate' : 'key';
  return {
    what: `\`certificate\` and \`key\` go together; \`${absent}\` is missing`,
    fix: `Add \`${absent}\`.`,
  };
};
