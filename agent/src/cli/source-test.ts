/**
 * `skein-agent source test`: opens one configured source by itself and tells what it delivers, and what the installed model
 * makes of it. No daemon is needed, and one that runs is not disturbed: nothing is written to its directory, brokers see
 * another client, pushed readings come in by a port of their own. Only a device that one program at a time may open
 * (a serial port, most cameras) is then taken twice, which is said.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { SourceOf } from '../config/schema.ts';
import { Engine } from '../inference/engine.ts';
import { OnnxBackend } from '../inference/onnx-backend.ts';
import type { Pictures } from '../pipeline/pictures.ts';
import { createPipeline } from '../pipeline/run-pipeline.ts';
import { workerPictures } from '../pipeline/worker-pictures.ts';
import { admission } from '../sources/admission.ts';
import { type PushDoor, pushDoor } from '../sources/push-door.ts';
import { Tally, type TallyReport } from '../sources/tally.ts';
import { systemClock, systemEntropy } from '../system-clock.ts';
import { installedModel } from '../update/sqlite-installed.ts';
import { tryAtRest } from './open-at-rest.ts';
import { engineOptions } from './open-backends.ts';
import { openSources } from './open-sources.ts';
import type { Settings } from './settings.ts';

const TICK_MS: Millis = 1_000;
/** A server of models beside this machine's agent may be in its use: loading here would load, or unload, there. */
const IN_PROCESS = 'onnxruntime';
const MAX_BODY = 16 << 20;

export interface SourceTestReport extends TallyReport {
  source: string;
  kind: string;
  model: string;
  /** Why there is no prediction, and what else is to be known. */
  notes: string[];
  /** When nothing came: why, and what to do. */
  reason: string | null;
  fix: string | null;
}

export interface SourceTest {
  settings: Settings;
  name: string;
  seconds: number;
  /** Known before anything came. */
  begun(notes: readonly string[]): void;
  /** Every second. */
  tick(report: TallyReport): void;
  /** Ends it early. */
  stopped: Promise<void>;
}

/** @throws SkeinError NOT_FOUND when no source has this name */
export async function testSource(test: SourceTest): Promise<SourceTestReport> {
  const source = sourceNamed(test);
  const notes: string[] = [];
  const door = pushDoor();
  const listener = source.kind === 'http' && !source.url ? await listen(door, source, notes) : undefined;
  const { config } = test.settings;
  const { shadows: _, ...options } = engineOptions(config);
  const notKnown = (thrown: unknown) => void notes.push(asSkeinError(thrown).message);
  const blobKey = (await tryAtRest(config).catch(notKnown))?.keys.models;
  const backend = new OnnxBackend({ placement: config.inference.placement, blobKey });
  const engine = new Engine({ backend, clock: systemClock, ...options });
  const pictures = workerPictures();
  try {
    await activate(engine, source, config.stateDir, notes, blobKey);
    test.begun(notes);
    const report = await watch(test, source, engine, pictures, door);
    const silent = report.readings === 0;
    const fix = silent ? (report.problem?.fix ?? SILENT[source.kind](source)) : null;
    const reason = silent ? (report.problem?.message ?? `nothing came within ${report.seconds} s`) : null;
    return { source: source.name, kind: source.kind, model: source.model, ...report, notes, reason, fix };
  } finally {
    listener?.closeAllConnections();
    listener?.close();
    await Promise.all([engine.close(), pictures.close()]);
  }
}

function sourceNamed({ settings, name }: SourceTest): SourceOf {
  const { sources } = settings.config;
  const source = sources.find((each) => each.name === name);
  if (source) return source;
  throw new SkeinError('NOT_FOUND', `no source ${name} in ${settings.file ?? 'the defaults'}`, {
    fix: `There are: ${sources.map((each) => each.name).join(', ') || 'none'}.`,
  });
}

/** A source is worth trying before its model came, or when the model cannot be loaded here. */
async function activate(
  engine: Engine,
  { model }: SourceOf,
  stateDir: string,
  notes: string[],
  blobKey: Uint8Array | undefined,
): Promise<void> {
  try {
    const staged = await installedModel(stateDir, model, blobKey);
    const backend = staged?.variant.backend ?? IN_PROCESS;
    if (staged && backend === IN_PROCESS) await engine.activate(staged);
    else if (staged)
      notes.push(
        `${model} runs on ${backend}, which is the agent’s to use: readings are shown, not predicted.`,
      );
    else notes.push(`No model ${model} is installed in ${stateDir}: readings are shown, not predicted.`);
  } catch (error) {
    notes.push(`The model ${model} does not load here: ${asSkeinError(error).message}`);
  }
}

async function watch(
  { seconds, settings, tick, stopped }: SourceTest,
  config: SourceOf,
  engine: Engine,
  pictures: Pictures,
  door: PushDoor,
): Promise<TallyReport> {
  const clock = systemClock;
  const parts = { clock, entropy: systemEntropy, door };
  const tally = new Tally(clock.mono());
  const pipeline = createPipeline({
    engine,
    model: config.model,
    boot: 'test',
    pictures,
    onPrediction: ({ record }) => tally.prediction(record, clock.mono()),
    onDrift: () => {},
    onProblem: ({ code, message }) => {
      tally.problem = { message: `${code}: ${message}`, fix: null };
    },
  });
  const gate = admission((reading) => pipeline.reading(reading));
  const report = (): TallyReport => tally.report(clock.mono(), gate.dropped);
  const ticking = setInterval(() => tick(report()), TICK_MS);
  const { source } = openSources([config], settings.file, parts)[0]!;
  try {
    await new Promise<void>((resolve) => {
      const timer = clock.after(seconds * 1000, resolve);
      void stopped.then(() => {
        timer.cancel();
        resolve();
      });
      source.start({
        reading(reading) {
          tally.reading(reading);
          if (engine.current(config.model)) gate.offer(reading);
        },
        room: () => gate.room(),
        failed(error) {
          const { code, fix, message } = asSkeinError(error);
          if (code === 'SOURCE_INVALID') tally.bad++;
          tally.problem = { message, fix: fix ?? null };
        },
        ended: resolve,
      });
    });
    await source.stop();
    await gate.idle();
    return report();
  } finally {
    clearInterval(ticking);
  }
}

/** Pushed readings come in here; the agent's own port may be taken by the agent. */
async function listen(door: PushDoor, { name }: SourceOf, notes: string[]): Promise<Server> {
  const server = createServer(async (request, response) => {
    const answer = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
    try {
      if (request.method !== 'POST' || request.url !== `/v1/readings/${name}`) return void answer(404, {});
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of request as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > MAX_BODY) throw new SkeinError('PAYLOAD_TOO_LARGE', `longer than ${MAX_BODY} bytes`);
        chunks.push(chunk);
      }
      answer(202, door.push(name, Buffer.concat(chunks)));
    } catch (thrown) {
      const { code, message } = asSkeinError(thrown);
      answer(code === 'OVERLOADED' ? 503 : 400, { error: message, code });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  notes.push(`POST readings to http://127.0.0.1:${port}/v1/readings/${name} while this runs.`);
  return server;
}

/** Where nothing came and nothing went wrong. */
const SILENT: Record<SourceOf['kind'], (source: SourceOf) => string> = {
  host: () => 'A reading comes every period: give --seconds more than that.',
  csv: ({ path }) => `Look whether ${path} holds lines of readings.`,
  gas: ({ path }) => `Look whether ${path} holds lines of readings.`,
  jsonl: ({ path }) => `Look whether ${path} holds lines of readings.`,
  stdin: () => 'Pipe readings in, one JSON object per line.',
  command: ({ command }) => `It printed no line. Try it by hand: ${command}`,
  frames: ({ command }) => `It wrote no whole frame. Try it by hand: ${command}`,
  mqtt: ({ topic }) => `Look whether something is published on ${topic}: mosquitto_sub -v -t '${topic}'`,
  http: ({ url, name }) =>
    url ? `Ask it by hand: curl ${url}` : `POST to /v1/readings/${name} while the test runs.`,
  images: ({ path }) => `Look whether ${path} holds .jpg, .jpeg or .png files.`,
  snapshots: ({ url }) => `Ask it by hand: curl ${url}`,
};
