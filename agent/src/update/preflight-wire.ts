/** What parent and child of a preflight say to each other: one request on stdin, JSON lines on stdout. */
import type { Variant } from '@skein/protocol/manifest.ts';
import type { PreflightVerdict } from './ports.ts';

export interface PreflightRequest {
  modelPath: string;
  goldenPath: string;
  goldenSha256: string;
  variant: Variant;
  threads: number;
  providers: readonly string[];
}

/** `ready`: the runtime is there; what goes wrong before it is this machine's fault, after it the model's. */
export type PreflightLine = { stage: 'ready' | 'loaded' } | { stage: 'verdict'; verdict: PreflightVerdict };

export const PREFLIGHT_OUTPUT_MAX = 64 * 1024;
