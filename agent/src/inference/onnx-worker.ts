/**
 * The worker thread: one session, one request at a time. It sleeps in Atomics.wait (a tenth of the cost of an event
 * loop's wake-up) and so never runs event handlers: what changes rarely (layout, closing) is posted on the port *before*
 * the bell rings and read synchronously. Inputs lie in the main thread's shared buffer, outputs in this thread's; a
 * layout travels only when it differs from the one before. `onnx-wire.ts` has the counters.
 */
import { setPriority } from 'node:os';
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import type { LoadRequest } from './backend.ts';
import { type OnnxSession, openSession } from './onnx-session.ts';
import {
  ANSWERS,
  ASKED,
  COMPUTE,
  type FromWorker,
  REQUESTS,
  TOLD,
  type ToWorker,
  type WorkerStart,
} from './onnx-wire.ts';
import { SharedTensors } from './shared-tensors.ts';
import { warmUp } from './warm-up.ts';

/** Of a thread in the background; Linux keeps a priority for each thread, and those it starts inherit it. */
const BACKGROUND_NICE = 10;

const { control, request, port } = workerData as WorkerStart;
const counters = new Int32Array(control);
const times = new Float64Array(control);

/** Without a message the outputs lie where they lay before. */
function answer(message?: FromWorker): void {
  if (message) port.postMessage(message);
  counters[TOLD] = message ? 1 : 0;
  Atomics.add(counters, ANSWERS, 1);
  Atomics.notify(counters, ANSWERS);
}

const failed = (error: SkeinError): FromWorker => ({
  kind: 'failed',
  code: error.code,
  message: error.message,
  fix: error.fix,
});

async function load(wanted: LoadRequest): Promise<OnnxSession | undefined> {
  try {
    const session = await openSession(wanted);
    const { sha256, provider, reason, inputs, outputs } = session;
    const p99Ms = (await warmUp(session, () => performance.now()))?.p99Ms;
    answer({ kind: 'loaded', sha256, provider, reason, inputs, outputs, p99Ms });
    return session;
  } catch (error) {
    answer(failed(asSkeinError(error, 'MODEL_INVALID')));
    return undefined;
  }
}

/** Serves until told to close. */
async function serve(session: OnnxSession, commands: MessagePort): Promise<void> {
  let rung = 0;
  let input: SharedTensors | undefined;
  let output: SharedTensors | undefined;
  for (;;) {
    Atomics.wait(counters, REQUESTS, rung);
    rung = (rung + 1) | 0;
    const asked = counters[ASKED] === 1 ? receiveMessageOnPort(commands) : undefined;
    const command = asked?.message as ToWorker | undefined;
    if (command?.kind === 'close') break;
    if (command) input = new SharedTensors(command.region);
    if (!input) continue;
    try {
      const started = performance.now();
      const results = await session.run(input.views);
      times[COMPUTE] = performance.now() - started;
      const known = output?.fits(results) ? output : undefined;
      output = known ?? SharedTensors.roomFor(results, output);
      output.write(results);
      answer(known ? undefined : { kind: 'outputs', region: output.region });
    } catch (error) {
      answer(failed(asSkeinError(error, 'MODEL_CRASHED')));
    }
  }
  await session.close();
}

if (request.background) setPriority(0, BACKGROUND_NICE);
const session = await load(request);
if (session) await serve(session, port);
port.close();
