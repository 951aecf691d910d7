/**
 * The worker thread: one session, one request at a time.
 *
 * Doorbell: Int32 0 of the control buffer counts requests; the worker sleeps on it in Atomics.wait (a tenth of the
 * cost of an event loop's wake-up) and so never runs event handlers. What changes rarely (layout, closing) is posted
 * on the port *before* the bell rings and read synchronously. Inputs lie in the main thread's shared buffer, outputs
 * in this thread's; a layout travels only when it differs from the one before.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { LoadRequest } from './backend.ts';
import type { OnnxSession } from './onnx-session.ts';
import { openSession, warmUp } from './onnx-session.ts';
import type { FromWorker, ToWorker, WorkerStart } from './onnx-wire.ts';
import { fitsLayout, type Layout, layoutOf, readTensors, writeTensors } from './tensors.ts';

const { control, request, port } = workerData as WorkerStart;
const bell = new Int32Array(control);
const answer = (message: FromWorker) => parentPort!.postMessage(message);
const failed = (thrown: unknown, code: 'MODEL_INVALID' | 'MODEL_CRASHED'): FromWorker => {
  const error = asSkeinError(thrown, code);
  return { kind: 'failed', code: error.code, message: error.message, fix: error.fix };
};

async function load(wanted: LoadRequest): Promise<OnnxSession | undefined> {
  try {
    const session = await openSession(wanted);
    const { sha256, provider, reason, inputs, outputs } = session;
    const p99Ms = await warmUp(session);
    answer({ kind: 'loaded', sha256, provider, reason, inputs, outputs, p99Ms });
    return session;
  } catch (error) {
    answer(failed(error, 'MODEL_INVALID'));
    return undefined;
  }
}

/** Serves until told to close. */
async function serve(session: OnnxSession, commands: MessagePort): Promise<void> {
  let rung = 0;
  let input: { layout: Layout; buffer: SharedArrayBuffer } | undefined;
  let output: { layout: Layout; buffer: SharedArrayBuffer } | undefined;
  for (;;) {
    Atomics.wait(bell, 0, rung);
    rung = (rung + 1) | 0;
    const command = receiveMessageOnPort(commands)?.message as ToWorker | undefined;
    if (command?.kind === 'close') break;
    if (command) input = command;
    if (!input) continue;
    try {
      const results = await session.run(readTensors(input.layout, input.buffer, false));
      const known = output !== undefined && fitsLayout(results, output.layout);
      if (!output || !known) {
        const layout = layoutOf(results);
        const enough = output !== undefined && output.buffer.byteLength >= layout.bytes;
        output = { layout, buffer: enough ? output!.buffer : new SharedArrayBuffer(layout.bytes) };
      }
      writeTensors(results, output.layout, output.buffer);
      answer(known ? { kind: 'same' } : { kind: 'outputs', ...output });
    } catch (error) {
      answer(failed(error, 'MODEL_CRASHED'));
    }
  }
  await session.close();
  commands.close();
}

const session = await load(request);
if (session) await serve(session, port);
else port.close();
