/** Errors as application/problem+json (RFC 9457): the code is stable, the detail and the fix are for people. */
import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';

const STATUS: Partial<Record<ErrorCode, number>> = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  TOKEN_INVALID: 403,
  TOKEN_EXPIRED: 403,
  TOKEN_USED: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  METADATA_ROLLBACK: 409,
  PAYLOAD_TOO_LARGE: 413,
  BLOB_TOO_LARGE: 413,
  OVERLOADED: 503,
  UNREACHABLE: 503,
  DISK_FULL: 507,
  DISK_FAILED: 500,
  INTERNAL: 500,
};

export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ErrorCode;
  fix?: string;
  /** Where in the request: a JSON pointer. */
  path?: string;
}

/** A fault of ours says nothing of its inside to the peer; the log has it. */
export function problemOf(thrown: unknown): ProblemDocument {
  const error = asSkeinError(fromFastify(thrown) ?? thrown);
  const status = STATUS[error.code] ?? 400;
  const path = error.data.path;
  return {
    type: `urn:skein:problem:${error.code.toLowerCase().replaceAll('_', '-')}`,
    title: error.code.toLowerCase().replaceAll('_', ' '),
    status,
    detail: error.code === 'INTERNAL' ? 'the server failed; its log says why' : error.message,
    code: error.code,
    ...(error.fix === undefined ? {} : { fix: error.fix }),
    ...(typeof path === 'string' ? { path } : {}),
  };
}

/** What Fastify itself refuses, before a handler runs. */
function fromFastify(thrown: unknown): SkeinError | undefined {
  if (thrown instanceof SkeinError || !(thrown instanceof Error)) return undefined;
  const { statusCode, code } = thrown as Error & { statusCode?: number; code?: string };
  if (statusCode === undefined || statusCode >= 500) return undefined;
  if (statusCode === 413) return new SkeinError('PAYLOAD_TOO_LARGE', thrown.message, { cause: thrown });
  if (statusCode === 404) return new SkeinError('NOT_FOUND', thrown.message, { cause: thrown });
  const fix = code?.startsWith('FST_ERR_CTP')
    ? 'Send valid JSON with `content-type: application/json`.'
    : undefined;
  return new SkeinError('REQUEST_INVALID', thrown.message, {
    cause: thrown,
    data: { path: '' },
    ...(fix ? { fix } : {}),
  });
}
