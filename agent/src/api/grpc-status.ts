/** Our errors as gRPC statuses (grpc.io/docs/guides/status-codes): the code, and `CODE: words (what to do)`. */
import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';

export const GRPC_STATUS = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** Of what is UNAVAILABLE a client may try again at once; not of RESOURCE_EXHAUSTED, or overload feeds itself. */
const STATUS: Partial<Record<ErrorCode, keyof typeof GRPC_STATUS>> = {
  REQUEST_INVALID: 'INVALID_ARGUMENT',
  TENSOR_INVALID: 'INVALID_ARGUMENT',
  INPUT_NOT_FINITE: 'INVALID_ARGUMENT',
  NOT_FOUND: 'NOT_FOUND',
  FORBIDDEN: 'PERMISSION_DENIED',
  UNAUTHENTICATED: 'UNAUTHENTICATED',
  PAYLOAD_TOO_LARGE: 'RESOURCE_EXHAUSTED',
  OVERLOADED: 'RESOURCE_EXHAUSTED',
  MODEL_TIMEOUT: 'DEADLINE_EXCEEDED',
  MODEL_MEMORY: 'RESOURCE_EXHAUSTED',
  BACKEND_UNAVAILABLE: 'UNAVAILABLE',
  BACKEND_BUSY: 'UNAVAILABLE',
  BACKEND_FAULT: 'UNAVAILABLE',
};

/** It travels in a header: short, and no half of a character, which can not be encoded. */
const MAX_DETAILS = 1_000;

export interface GrpcFailure {
  code: number;
  details: string;
}

export function failureOf(thrown: unknown): GrpcFailure {
  const error = asSkeinError(thrown);
  return { code: GRPC_STATUS[STATUS[error.code] ?? 'INTERNAL'], details: wordsOf(error) };
}

export const wordsOf = ({ code, fix, message }: SkeinError): string =>
  `${code}: ${message}${fix ? ` (${fix})` : ''}`.slice(0, MAX_DETAILS).toWellFormed();

/** A message that can not be read is the sender's fault. */
export const unreadable = (cause: unknown): SkeinError =>
  cause instanceof SkeinError
    ? cause
    : new SkeinError('REQUEST_INVALID', `the message can not be read: ${(cause as Error).message}`, {
        cause,
      });
