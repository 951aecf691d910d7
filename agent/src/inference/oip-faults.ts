/**
 * What a server's refusal means. Three may be to blame: the model (its bytes are no model, an operation fails), the
 * machine (driver, memory, another user of the device) or the caller. Our sidecars say it by `code`; Triton and others
 * only by status and words. What the words leave open is the server's trouble when the status is 5xx while loading.
 */
import { ERROR_CODES, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { OipReply } from './oip-client.ts';

const SAID: readonly ErrorCode[] = [
  'BACKEND_BUSY',
  'BACKEND_UNAVAILABLE',
  'DRIVER_MISMATCH',
  'MODEL_INVALID',
  'MODEL_CRASHED',
  'BLOB_MISMATCH',
];

/**
 * Words of CUDA, cuBLAS, cuDNN, TensorRT, onnxruntime and Triton: for a driver or engine that does not fit (CUDA error 35 and
 * 222, TensorRT's plan check, missing libcuda), for a device whose memory is taken, and for one that is broken for the whole
 * process until it ends (CUDA's sticky errors; cuDNN also says INTERNAL_ERROR where its first convolution finds no memory).
 * The last may be one model's doing, and then every other one meets it: none is blamed by words alone.
 */
const DRIVER =
  /driver version|unsupported toolchain|libcuda|libnvinfer|plan file is (not compatible|generated on)|version tag does not match|serialization (error|version)|no kernel image|driver\/library version/i;
const BUSY =
  /out of memory|cudaErrorMemoryAllocation|ALLOC_FAILED|failed to allocate memory|resource temporarily|device (or resource )?busy/i;
const BROKEN =
  /device-side assert|illegal (memory access|instruction)|misaligned address|unspecified launch failure|launch timed out|uncorrectable ECC|GPU is lost|CU(DNN|BLAS)_STATUS_(INTERNAL_ERROR|NOT_INITIALIZED|EXECUTION_FAILED)/i;

/** `error` and `code` of a refusal, as far as they can be read. */
export function refusalOf({ status, body }: OipReply): { code: ErrorCode | undefined; words: string } {
  let said: { error?: unknown; code?: unknown } = {};
  try {
    said = (JSON.parse(body.subarray(0, 64 << 10).toString('utf8')) as typeof said | null) ?? {};
  } catch {
    // Not JSON: the status must do.
  }
  const words = typeof said.error === 'string' ? said.error.slice(0, 400) : `status ${status}`;
  const code = SAID.find((known) => known === said.code);
  if (code) return { code, words };
  if (DRIVER.test(words)) return { code: 'DRIVER_MISMATCH', words };
  if (BUSY.test(words)) return { code: 'BACKEND_BUSY', words };
  if (BROKEN.test(words)) return { code: 'BACKEND_UNAVAILABLE', words };
  return { code: undefined, words };
}

const FIXES: Partial<Record<ErrorCode, string>> = {
  DRIVER_MISMATCH:
    'Install driver and runtime library of the same release and restart the backend’s service.',
  BACKEND_BUSY: 'Free the device: another program holds it or its memory. The agent tries again by itself.',
};

export const refused = (backend: string, code: ErrorCode, words: string): SkeinError => {
  const fix = FIXES[code];
  return new SkeinError(code, `backend ${backend}: ${words}`, fix === undefined ? {} : { fix });
};

/** A load that was refused. 404: the server has no load call. */
export function loadRefusal(backend: string, reply: OipReply): SkeinError {
  const { code, words } = refusalOf(reply);
  if (code) return refused(backend, code, words);
  if (reply.status === 503 || reply.status === 429) return refused(backend, 'BACKEND_BUSY', words);
  if (reply.status === 404 || reply.status === 405)
    return refused(backend, 'BACKEND_UNAVAILABLE', `it has no repository to load into (${words})`);
  if (reply.status >= 500) return refused(backend, 'BACKEND_UNAVAILABLE', words);
  return refused(backend, 'MODEL_INVALID', words);
}

/** The model is not there (any more): Triton says 400 or 404, depending on its age. */
export const isForgotten = (reply: OipReply): boolean =>
  reply.status === 404 ||
  (reply.status === 400 && /unknown model|no available versions|is not found/i.test(refusalOf(reply).words));

/** An inference that was refused. The inputs fitted what the server declares, so a 4xx is its own contradiction. */
export function inferRefusal(backend: string, reply: OipReply): SkeinError {
  const { code, words } = refusalOf(reply);
  if (code) return refused(backend, code, words);
  if (reply.status === 503 || reply.status === 429) return refused(backend, 'BACKEND_BUSY', words);
  return refused(backend, reply.status >= 500 ? 'MODEL_CRASHED' : 'BACKEND_FAULT', words);
}

/** Of this machine rather than of a model. */
export const isEnvironment = (code: ErrorCode): boolean => ERROR_CODES[code] === 'environment';
