/** Paths of the Open Inference Protocol that name a model, Triton's among them. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';

const MODEL_PATH =
  /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(ready|infer|config|stats|trace\/setting|generate|generate_stream))?$/;

export interface ModelPath {
  /** undefined: not the path of a model. */
  name: string | undefined;
  version: string | undefined;
  /** Empty: the model itself. */
  action: string;
}

/** Most clients ask for one thing again and again. */
let latest: (ModelPath & { path: string }) | undefined;

/** @throws SkeinError REQUEST_INVALID */
export function modelPath(path: string): ModelPath {
  if (latest?.path === path) return latest;
  const [, name, version, action = ''] = MODEL_PATH.exec(path) ?? [];
  latest = { path, name: name && decodedPart(name), version: version && decodedPart(version), action };
  return latest;
}

/** @throws SkeinError REQUEST_INVALID */
export function decodedPart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new SkeinError('REQUEST_INVALID', 'the path is not UTF-8, percent-encoded');
  }
}
