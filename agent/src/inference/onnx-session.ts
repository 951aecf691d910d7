/**
 * One onnxruntime session on the calling thread. The file is read once: the bytes that are hashed are the bytes
 * that the runtime gets. `session.run` and `create` block this thread; who may be blocked is decided elsewhere.
 */
import { createHash } from 'node:crypto';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import { readBlob } from '../at-rest/disk-blob.ts';
import type { LoadRequest, Tensor, TensorData, Tensors } from './backend.ts';
import { createSession, type InferenceSession, Tensor as RuntimeTensor } from './onnx-runtime.ts';
import { checkInputs, ELEMENT_TYPES } from './tensors.ts';

export type OpenRequest = Pick<LoadRequest, 'path' | 'sha256' | 'threads' | 'providers' | 'blobKey'>;

export interface OnnxSession {
  readonly sha256: Sha256Hex;
  readonly provider: string;
  readonly reason: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** @throws SkeinError TENSOR_INVALID, MODEL_CRASHED, MODEL_MEMORY */
  run(inputs: Tensors): Promise<Tensors>;
  close(): Promise<void>;
}

const wordsOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
const NO_MEMORY = /bad_alloc|out of memory|failed to allocate/i;

const invalid = (path: string, cause: unknown): SkeinError =>
  NO_MEMORY.test(wordsOf(cause))
    ? noMemory(path, cause)
    : new SkeinError('MODEL_INVALID', `${path}: ${wordsOf(cause)}`, {
        fix: 'Check the file with `skein-model inspect`; it must be an ONNX model that onnxruntime 1.30 can run.',
        cause,
      });

const noMemory = (what: string, cause: unknown): SkeinError =>
  new SkeinError('MODEL_MEMORY', `${what} needs more memory than there is: ${wordsOf(cause)}`, {
    fix: 'Use a smaller model or input, or a device with more memory.',
    cause,
  });

/** What went wrong while computing. */
const runFailure = (cause: unknown): SkeinError =>
  NO_MEMORY.test(wordsOf(cause))
    ? noMemory('this inference', cause)
    : new SkeinError('MODEL_CRASHED', `the runtime failed: ${wordsOf(cause)}`, { cause });

function toSpec(meta: InferenceSession.ValueMetadata): TensorSpec {
  if (!meta.isTensor) throw new Error(`\`${meta.name}\` is not a tensor`);
  const type = ELEMENT_TYPES.find((known) => known === meta.type);
  if (!type) throw new Error(`\`${meta.name}\` has type ${meta.type}, which is not supported`);
  return { name: meta.name, type, shape: meta.shape.map((dim) => (typeof dim === 'number' ? dim : -1)) };
}

/** `['cuda', 'cpu']` rejects as a whole in this binding, so each provider is tried alone, in order. */
async function createWithFallback(
  bytes: Uint8Array,
  request: Pick<LoadRequest, 'path' | 'threads' | 'providers'>,
) {
  const failures: string[] = [];
  const providers = request.providers.length > 0 ? request.providers : ['cpu'];
  let last: unknown;
  for (const provider of providers) {
    try {
      const session = await createSession(bytes, {
        executionProviders: [provider],
        intraOpNumThreads: request.threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        logSeverityLevel: 4,
      });
      const why = failures.length > 0 ? `after ${failures.join('; ')}` : 'first choice';
      return { session, provider, reason: `${provider}: ${why}` };
    } catch (error) {
      last = error;
      failures.push(`${provider} failed (${wordsOf(error)})`);
    }
  }
  throw invalid(request.path, last);
}

async function readChecked(
  request: Pick<LoadRequest, 'path' | 'sha256' | 'blobKey'>,
): Promise<{ bytes: Uint8Array; sha256: Sha256Hex }> {
  const bytes = await readBlob(request.path, request.blobKey).catch((cause: unknown) => {
    if (cause instanceof SkeinError) throw cause;
    throw new SkeinError('MODEL_INVALID', `${request.path} cannot be read`, { cause });
  });
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== request.sha256) {
    throw new SkeinError('BLOB_MISMATCH', `${request.path} hashes to ${sha256}, expected ${request.sha256}`, {
      fix: 'The file changed on disk; fetch it again.',
    });
  }
  return { bytes, sha256 };
}

/** @throws SkeinError MODEL_INVALID, BLOB_MISMATCH, DATA_KEY_* */
export async function openSession(request: OpenRequest): Promise<OnnxSession> {
  const { bytes, sha256 } = await readChecked(request);
  return { sha256, ...(await sessionFromBytes(bytes, request, runNow)) };
}

/** For tools that hold a model in memory; each run lets the event loop turn. @throws SkeinError MODEL_INVALID */
export async function sessionFromBytes(
  bytes: Uint8Array,
  request: Pick<LoadRequest, 'path' | 'threads' | 'providers'>,
  runOf = (session: InferenceSession, feeds: Record<string, RuntimeTensor>) => session.run(feeds),
): Promise<Omit<OnnxSession, 'sha256'>> {
  const { session, provider, reason } = await createWithFallback(bytes, request);
  try {
    const inputs = session.inputMetadata.map(toSpec);
    const outputs = session.outputMetadata.map(toSpec);
    const run = async (tensors: Tensors): Promise<Tensors> => {
      checkInputs(tensors, inputs);
      try {
        return outputsOf(await runOf(session, feedsOf(tensors, inputs)), outputs);
      } catch (cause) {
        throw runFailure(cause);
      }
    };
    return { provider, reason, inputs, outputs, run, close: () => session.release() };
  } catch (cause) {
    await session.release();
    throw invalid(request.path, cause);
  }
}

function feedsOf(tensors: Tensors, specs: readonly TensorSpec[]): Record<string, RuntimeTensor> {
  const feeds: Record<string, RuntimeTensor> = {};
  for (const { name } of specs) feeds[name] = feedOf(tensors[name]!);
  return feeds;
}

function outputsOf(results: InferenceSession.ReturnType, specs: readonly TensorSpec[]): Tensors {
  const outputs: Record<string, Tensor> = {};
  for (const { name, type } of specs) {
    const { data, dims } = results[name]!;
    outputs[name] = { type, dims, data: bits(data as TensorData) };
  }
  return outputs;
}

/** float16 goes in as its bits: of the Float16Array that `Tensor` makes of them the binding sees nothing. */
function feedOf({ type, dims, data }: Tensor): RuntimeTensor {
  if (type !== 'float16') return new RuntimeTensor(type, data as Float32Array, dims);
  return Object.assign(new RuntimeTensor('uint16', data as Uint16Array, dims), { type });
}

/**
 * onnxruntime-node computes on the calling thread, after a turn of the event loop that it waits for with setImmediate.
 * Our callers have waited already, and a turn costs a worker as much as its whole answer: for the length of this call
 * setImmediate runs its task at once. Should a later version compute elsewhere, this changes nothing.
 */
function runNow(session: InferenceSession, feeds: Record<string, RuntimeTensor>) {
  const { setImmediate: later } = globalThis;
  globalThis.setImmediate = ((task: () => void) => task()) as unknown as typeof later;
  try {
    return session.run(feeds);
  } finally {
    globalThis.setImmediate = later;
  }
}

/** float16 leaves the runtime as Float16Array; everywhere else it travels as raw bits. */
const bits = (data: TensorData): TensorData =>
  data.constructor.name === 'Float16Array'
    ? new Uint16Array(data.buffer, data.byteOffset, data.length)
    : data;
