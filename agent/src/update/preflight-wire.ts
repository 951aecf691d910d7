/** What parent and child of a preflight say to each other: one request on stdin, JSON lines on stdout. */
import type { Variant } from '@skein/protocol/manifest.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';

export interface PreflightRequest {
  modelPath: string;
  goldenPath: string;
  goldenSha256: string;
  variant: Variant;
  threads: number;
  providers: readonly string[];
}

const text = (maxLength: number) => Type.Union([Type.String({ maxLength }), Type.Null()]);
const count = Type.Integer({ minimum: 0 });
const Verdict = strict({
  ok: Type.Boolean(),
  code: text(64),
  detail: text(1000),
  loaded: Type.Union([Type.String({ pattern: '^[0-9a-f]{64}$' }), Type.Null()]),
  golden: strict({ passed: count, total: count }),
  environment: Type.Boolean(),
});

/** `ready`: the runtime is there; what goes wrong before it is this machine's fault, after it the model's. */
const Line = Type.Union([
  strict({ stage: oneOf(['ready', 'loaded']) }),
  strict({ stage: Type.Literal('verdict'), verdict: Verdict }),
]);
export type PreflightLine = Static<typeof Line>;

export const PREFLIGHT_OUTPUT_MAX = 64 * 1024;

/** The child ran a stranger's model: its words are bounded and checked like a stranger's. @throws SkeinError MESSAGE_INVALID */
export const parsePreflightLine = checker(Line, 'MESSAGE_INVALID', PREFLIGHT_OUTPUT_MAX);
