/**
 * Raw deflate in one call each, on a context that is kept. Node makes one for every call, and what is left of it outside of
 * JavaScript's sight waits for a full collection: at a few a minute those are rare, and memory grows by megabytes until one.
 *
 * A stream's own synchronous step (`_processChunk`) closes it at its end; it is held open by a handle whose `close` does
 * nothing meanwhile, as tar programs do. Where Node has no such step, each call is its own again.
 */
import {
  constants,
  createDeflateRaw,
  createInflateRaw,
  deflateRawSync,
  inflateRawSync,
  type ZlibOptions,
} from 'node:zlib';

type Step = (input: Uint8Array) => Buffer;

interface Handle {
  close(): void;
}
interface Stream {
  _handle: Handle | null;
  _processChunk?(input: Uint8Array, flush: number): Buffer;
  reset(): void;
  removeAllListeners(event: string): void;
}

/** A stream that was spoilt by bad input is made anew. @throws what zlib throws */
function kept(make: () => unknown, once: Step): Step {
  let stream: Stream | undefined;
  const step: Step = (input) => {
    stream ??= make() as Stream;
    const handle = stream._handle!;
    const { close } = handle;
    handle.close = () => {};
    try {
      // A copy: the stream's own buffer is written anew by the next call.
      const output = Buffer.from(stream._processChunk!(input, constants.Z_FINISH));
      stream._handle = handle;
      stream.reset();
      return output;
    } catch (error) {
      stream = undefined;
      close.call(handle);
      throw error;
    } finally {
      handle.close = close;
      // One more at each step.
      stream?.removeAllListeners('error');
    }
  };
  let known: boolean | undefined;
  return (input) => {
    known ??= canStep(make() as Stream);
    return known ? step(input) : once(input);
  };
}

/** Found out when it is first needed: a stream and all that Node loads for one are not needed to predict. */
function canStep(probe: Stream): boolean {
  const known = typeof probe._processChunk === 'function' && typeof probe._handle?.close === 'function';
  probe._handle?.close();
  return known;
}

export const deflater = (options: ZlibOptions): Step =>
  kept(
    () => createDeflateRaw(options),
    (input) => deflateRawSync(input, options),
  );

export const inflater = (options: ZlibOptions): Step =>
  kept(
    () => createInflateRaw(options),
    (input) => inflateRawSync(input, options),
  );
