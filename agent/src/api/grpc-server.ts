/**
 * The gRPC server over @grpc/grpc-js. It listens to nothing itself: connections are handed to it, so that it is loaded
 * only when there is one (grpc-api.ts). Messages pass as bytes; a message that can not be read is answered, not
 * thrown. A stream's answers come in the order of its requests, at most {@link STREAM_DEPTH} of them at work.
 */
import type { Socket } from 'node:net';
import {
  logVerbosity,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  setLogVerbosity,
} from '@grpc/grpc-js';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import { type Bytes, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Authorize } from './bearer.ts';
import { BodyBudget } from './body-budget.ts';
import {
  check,
  HEALTH,
  healthAnswer,
  healthOf,
  INFERENCE,
  inferInStream,
  METHODS,
  type Method,
  refusalInStream,
  UNIMPLEMENTED,
} from './grpc-service.ts';
import { failureOf } from './grpc-status.ts';
import type { OipModels } from './oip-models.ts';

const STREAM_DEPTH = 16;
/** Calls at once on one connection; a client waits with more. */
const MAX_CALLS = 64;
const WATCH_EVERY_MS: Millis = SECOND;

export interface GrpcDeps {
  models: OipModels;
  clock: Clock;
}

export interface GrpcServer {
  accept(socket: Socket): void;
  /** Takes no more calls, and closes each connection when its last has ended. */
  drain(): void;
  stop(): void;
}

/** What the calls of one server share. */
interface Served extends GrpcDeps {
  /** Of the messages that are at work. */
  bodies: BodyBudget;
}

type Handler = (call: never, done: never) => void;

const asIs = (bytes: Buffer): Buffer => bytes;
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const definition = (path: string, requestStream = false, responseStream = false) => ({
  ...{ path, requestStream, responseStream },
  ...{
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asBuffer,
    responseDeserialize: asIs,
  },
});

/** @param maxMessage of a request, unpacked */
export function grpcServer(deps: GrpcDeps, authorize: Authorize, maxMessage: Bytes): GrpcServer {
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_concurrent_streams': MAX_CALLS,
    'grpc.max_receive_message_length': maxMessage,
    'grpc.max_connection_idle_ms': 5 * MINUTE,
    'grpc.keepalive_time_ms': MINUTE,
  });
  addMethods(server, { ...deps, bodies: new BodyBudget() }, authorize);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return {
    accept: (socket) => injector.injectConnection(socket),
    drain: () => server.tryShutdown(() => undefined),
    stop: () => server.forceShutdown(),
  };
}

function addMethods(server: Server, deps: Served, authorize: Authorize): void {
  const methods: Record<string, ReturnType<typeof definition>> = {};
  const handlers: Record<string, Handler> = {};
  const add = (path: string, handler: Handler, requests = false, responses = false): void => {
    methods[path] = definition(path, requests, responses);
    handlers[path] = handler;
  };
  const guard = (call: Call): void => authorize(call.metadata.get('authorization')[0]?.toString());
  for (const [path, method] of METHODS) add(path, unary(deps, guard, method));
  // As /healthz, health asks for no token.
  add(
    `/${HEALTH}/Check`,
    unary(deps, () => undefined, check),
  );
  for (const [path, failure] of UNIMPLEMENTED)
    add(path, (_call: never, done: sendUnaryData<Uint8Array>) => done(failure));
  add(`/${INFERENCE}/ModelStreamInfer`, streamInfer(deps, guard), true, true);
  add(`/${HEALTH}/Watch`, watch(deps), false, true);
  server.addService(methods as unknown as ServiceDefinition, handlers as never);
}

interface Call {
  readonly metadata: Metadata;
  getDeadline(): Date | number;
}

type Guard = (call: Call) => void;

/** What is left of the client's deadline. */
function timeLeft({ clock }: Served, call: Call): Millis | undefined {
  const deadline = Number(call.getDeadline());
  return Number.isFinite(deadline) ? Math.max(1, deadline - clock.now()) : undefined;
}

const unary =
  (deps: Served, guard: Guard, method: Method) =>
  async (call: ServerUnaryCall<Buffer, Uint8Array>, done: sendUnaryData<Uint8Array>): Promise<void> => {
    try {
      guard(call);
      const { request } = call;
      const work = () => method(deps.models, request, timeLeft(deps, call));
      const answer = await deps.bodies.during(request.length, work);
      if (!call.cancelled) done(null, answer);
    } catch (thrown) {
      if (!call.cancelled) done(failureOf(thrown));
    }
  };

const streamInfer =
  (deps: Served, guard: Guard) =>
  async (call: ServerDuplexStream<Buffer, Uint8Array>): Promise<void> => {
    /** Each is done when its answer has been taken, all before it too. */
    const sent: Promise<void>[] = [];
    let last = Promise.resolve();
    const send = async (answer: Promise<Uint8Array>, before: Promise<void>): Promise<void> => {
      const [bytes] = await Promise.all([answer, before]);
      if (!call.cancelled && !call.write(bytes)) await drained(call);
    };
    try {
      guard(call);
      for await (const bytes of call) {
        const work = () => inferInStream(deps.models, bytes as Buffer, timeLeft(deps, call));
        last = send(deps.bodies.during((bytes as Buffer).length, work).catch(refusalInStream), last);
        if (sent.push(last) >= STREAM_DEPTH) await sent.shift();
      }
      await last;
      call.end();
    } catch (thrown) {
      // A cancelled call ends its loop with an error that nobody is left to hear.
      if (!call.cancelled) call.emit('error', failureOf(thrown));
    }
  };

const drained = (call: ServerDuplexStream<Buffer, Uint8Array>): Promise<void> =>
  new Promise((resolve) => {
    for (const event of ['drain', 'close', 'cancelled']) call.once(event, () => resolve());
  });

/** The status now and whenever it changes. */
const watch =
  (deps: GrpcDeps) =>
  (call: ServerWritableStream<Buffer, Uint8Array>): void => {
    let told = '';
    let timer: Timer | undefined;
    const look = (): void => {
      const health = healthOf(deps.models, call.request);
      if (health !== told) call.write(healthAnswer(health));
      told = health;
      timer = deps.clock.after(WATCH_EVERY_MS, look);
    };
    try {
      look();
      call.once('cancelled', () => timer?.cancel());
    } catch (thrown) {
      call.emit('error', failureOf(thrown));
    }
  };
