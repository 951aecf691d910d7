/** Errors as people should read them: what went wrong, and what to do about it (RFC 9457 plus `code` and `fix`). */
export class ProblemError extends Error {
  readonly code: string;
  readonly status: number;
  readonly fix: string | undefined;

  constructor(code: string, status: number, message: string, fix?: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'ProblemError';
    this.code = code;
    this.status = status;
    this.fix = fix;
  }

  static unreachable(cause: unknown): ProblemError {
    const aborted = cause instanceof DOMException && cause.name === 'AbortError';
    return aborted
      ? new ProblemError('ABORTED', 0, 'The request was cancelled.', undefined, cause)
      : new ProblemError(
          'UNREACHABLE',
          0,
          'The server does not answer.',
          'See whether it runs (npm start); this page tries again by itself.',
          cause,
        );
  }
}

/** What a failed response says; a body that is not problem+json still gives a readable error. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const body: unknown = await response.json().catch(() => undefined);
  const { code, detail, title, fix } = (body ?? {}) as Record<string, unknown>;
  const words = [detail, title].find((text) => typeof text === 'string' && text !== '');
  return new ProblemError(
    typeof code === 'string' ? code : `HTTP_${response.status}`,
    response.status,
    typeof words === 'string' ? words : `The server answered ${response.status}.`,
    typeof fix === 'string' ? fix : undefined,
  );
}

export const asProblem = (thrown: unknown): ProblemError =>
  thrown instanceof ProblemError
    ? thrown
    : new ProblemError(
        'INTERNAL',
        0,
        thrown instanceof Error ? thrown.message : String(thrown),
        undefined,
        thrown,
      );
