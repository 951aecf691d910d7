/** What of a request goes into the audit log: never a secret, and of large bodies only size and hash. */
import { createHash } from 'node:crypto';
import type { RouteName } from '@skein/protocol/endpoints.ts';

const MAX_CHARS = 2_000;
const SECRET: ReadonlySet<RouteName> = new Set(['login', 'enrol', 'renew']);

export function auditDetail(route: RouteName, body: unknown): Record<string, unknown> {
  if (SECRET.has(route) || typeof body !== 'object' || body === null || isStream(body)) return {};
  const text = JSON.stringify(body);
  if (text.length <= MAX_CHARS) return body as Record<string, unknown>;
  return { sizeBytes: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex') };
}

const isStream = (body: object): boolean => 'pipe' in body;
