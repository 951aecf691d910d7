/** A gRPC client made from the protocol's text, as a stranger would make one. */
import { join } from 'node:path';
import { Client, credentials, type Metadata, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

const root = new protobuf.Root().loadSync(
  ['grpc_service.proto', 'health.proto'].map((file) => join(import.meta.dirname, file)),
  { keepCase: true },
);
const SERVICES = ['inference.GRPCInferenceService', 'grpc.health.v1.Health'];

export type Message = Record<string, unknown>;

interface Wire {
  path: string;
  serialize(message: Message): Buffer;
  deserialize(bytes: Buffer): Message;
}

function wireOf(method: string): Wire {
  const service = SERVICES.map((name) => root.lookupService(name)).find((each) => each.methods[method])!;
  const { requestType, responseType } = service.methods[method]!;
  const [request, response] = [root, root].map((from, i) => {
    const inside = from.lookup(service.parent!.fullName) as protobuf.Namespace;
    return inside.lookupType([requestType, responseType][i]!);
  }) as [protobuf.Type, protobuf.Type];
  return {
    path: `${service.fullName.replace(/^\./, '/')}/${method}`,
    serialize: (message) => Buffer.from(request.encode(request.fromObject(message)).finish()),
    deserialize: (bytes) =>
      response.toObject(response.decode(bytes), { longs: Number, enums: String, defaults: true }),
  };
}

export const encodeRequest = (method: string, message: Message): Buffer => wireOf(method).serialize(message);

export interface CallOptions {
  deadlineMs?: number;
  metadata?: Metadata;
}

export class GrpcClient {
  readonly client: Client;

  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  }

  /** @throws ServiceError with `code` and `details` */
  call(method: string, message: Message = {}, { deadlineMs, metadata }: CallOptions = {}): Promise<Message> {
    const { path, serialize, deserialize } = wireOf(method);
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer?: Message) =>
        error ? reject(error) : resolve(answer!);
      if (metadata)
        this.client.makeUnaryRequest(path, serialize, deserialize, message, metadata, options, done);
      else this.client.makeUnaryRequest(path, serialize, deserialize, message, options, done);
    });
  }

  stream(method: string) {
    const { path, serialize, deserialize } = wireOf(method);
    return this.client.makeBidiStreamRequest(path, serialize, deserialize);
  }

  watch(method: string, message: Message) {
    const { path, serialize, deserialize } = wireOf(method);
    return this.client.makeServerStreamRequest(path, serialize, deserialize, message);
  }

  close(): void {
    this.client.close();
  }
}
