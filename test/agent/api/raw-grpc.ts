/** gRPC without a gRPC library: HTTP/2 streams and frames as they are, also wrong ones. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2';

/** @param length as stated before the message */
export function frame(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length >>> 0, 1);
  return Buffer.concat([head, message]);
}

export interface RawAnswer {
  http: number | undefined;
  grpc: string | undefined;
  details: string | undefined;
  body: Buffer;
}

export class RawGrpc {
  readonly session: ClientHttp2Session;

  constructor(address: string) {
    // By default the client itself gives up on a stream of 10 MB that is not yet sent.
    this.session = connect(`http://${address}`, { maxSessionMemory: 1_000 });
    this.session.on('error', () => undefined);
  }

  request(path: string, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
    const stream = this.session.request({
      ...{ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' },
      ...headers,
    });
    stream.on('error', () => undefined);
    return stream;
  }

  /** Sends `body` as it is; what came back when the stream is over, however it ended. */
  send(path: string, body: Uint8Array, headers: OutgoingHttpHeaders = {}): Promise<RawAnswer> {
    const stream = this.request(path, headers);
    const answer: RawAnswer = { http: undefined, grpc: undefined, details: undefined, body: Buffer.alloc(0) };
    const take = (from: Record<string, unknown>): void => {
      answer.http ??= from[':status'] as number | undefined;
      answer.grpc ??= from['grpc-status'] as string | undefined;
      answer.details ??= from['grpc-message'] as string | undefined;
    };
    const chunks: Buffer[] = [];
    stream.on('response', take).on('trailers', take);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    return new Promise((resolve) => {
      stream.once('close', () => resolve({ ...answer, body: Buffer.concat(chunks) }));
      stream.end(body);
    });
  }

  close(): void {
    this.session.destroy();
  }
}
