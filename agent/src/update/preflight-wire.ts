/** What parent and child of a preflight say to each other: one request on stdin, JSON lines on stdout. */
import type { Variant } from '@skein/protocol/manifest.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';
import type { OipBackendOptions } from '../inference/oip-backend.ts';

export interface PreflightVariant {
  modelPath: string;
  variant: Variant;
}

/** One variant: its golden vectors are tried. Several: they passed already, and are run in turns. */
export interface PreflightRequest {
  model: string;
  variants: PreflightVariant[];
  goldenPath: string;
  goldenSha256: string;
  threads: number;
  providers: readonly string[];
  /** Servers that variants may name. */
  backends: readonly OipBackendOptions[];
  /** Of the model store in base64, where it is encrypted. By a pipe: arguments and environment are there to be read. */
  blobKey?: string;
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
  proof: Type.Optional(oneOf(['runtime', 'sidecar', 'sent'])),
});
const Figures = Type.Array(
  strict({ variant: Type.String({ maxLength: 32 }), medianUs: Type.Number({ minimum: 0 }) }),
  { maxItems: 16 },
);

/** `ready`: the runtime is there; what goes wrong before it is this machine's fault, after it the model's. */
const Line = Type.Union([
  strict({ stage: oneOf(['ready', 'loaded']) }),
  strict({ stage: Type.Literal('compiling'), share: Type.Union([Type.Number(), Type.Null()]) }),
  strict({ stage: Type.Literal('verdict'), verdict: Verdict }),
  strict({ stage: Type.Literal('measured'), figures: Figures }),
  strict({ stage: Type.Literal('unmeasured'), why: Type.String({ maxLength: 500 }) }),
]);
export type PreflightLine = Static<typeof Line>;

export const PREFLIGHT_OUTPUT_MAX = 64 * 1024;

/** The child ran a stranger's model: its words are bounded and checked like a stranger's. @throws SkeinError MESSAGE_INVALID */
export const parsePreflightLine = checker(Line, 'MESSAGE_INVALID', PREFLIGHT_OUTPUT_MAX);
