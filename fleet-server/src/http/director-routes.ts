/** What devices fetch with their certificate: metadata of both repositories, blobs (resumable), and which patches make them. */
import { Readable } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { FastifyReply } from 'fastify';
import type { Blobs } from '../blobs/port.ts';
import type { Director } from '../director/orders.ts';
import { deltaOffers } from '../models/deltas.ts';
import type { ImageRepository } from '../models/image-repository.ts';
import type { Store } from '../store/sqlite-store.ts';
import { BLOB_RECORD, etagOf, rangeOf } from './byte-range.ts';
import type { HandlerRequest, Handlers } from './handlers.ts';

export interface DirectorRouteDeps {
  repository: ImageRepository;
  director: Director;
  blobs: Blobs;
  store: Store;
}

export function directorRoutes({ repository, director, blobs, store }: DirectorRouteDeps): Handlers {
  return {
    imageDocument: async ({ params, reply }) =>
      sendDocument(reply, params.file!, await repository.file('image', params.file!)),
    directorDocument: async ({ params, reply, device }) => {
      const own = params.file === 'targets.json' && device !== undefined;
      const bytes = own ? await director.document(device) : await repository.file('director', params.file!);
      return sendDocument(reply, params.file!, bytes);
    },
    deviceBlob: (request) => sendBlob(request, blobs),
    deviceDeltas: async ({ params }) => ({ offers: await deltaOffers(store, params.sha256!) }),
  };
}

/** The very bytes that were signed. */
function sendDocument(reply: FastifyReply, file: string, bytes: Uint8Array | undefined): FastifyReply {
  if (!bytes) throw new SkeinError('NOT_FOUND', `there is no ${file}`);
  return reply
    .header('content-type', 'application/json')
    .header('cache-control', 'no-store')
    .send(Buffer.from(bytes));
}

async function sendBlob(request: HandlerRequest<'deviceBlob'>, blobs: Blobs): Promise<FastifyReply> {
  const { params, headers, reply } = request;
  const sha256 = params.sha256!;
  const size = await blobs.sizeOf(sha256);
  if (size === undefined) throw new SkeinError('NOT_FOUND', `there is no blob ${sha256}`);
  const etag = etagOf(sha256);
  const [range, ifRange] = [headers.range, headers['if-range']].map((value) => value?.toString());
  const answer = rangeOf({ range, ifRange }, etag, size);
  if (reply.raw.socket instanceof TLSSocket) reply.raw.socket.setMaxSendFragment(BLOB_RECORD);
  reply.code(answer.status).header('etag', etag).header('accept-ranges', 'bytes');
  if (answer.status === 416) return reply.header('content-range', `bytes */${size}`).send();
  if (answer.status === 206) {
    reply.header('content-range', `bytes ${answer.start}-${answer.end - 1}/${size}`);
  }
  return reply
    .header('content-type', 'application/octet-stream')
    .header('content-length', answer.end - answer.start)
    .header('cache-control', 'private, max-age=31536000, immutable')
    .send(Readable.from(blobs.read(sha256, answer.start, answer.end), { objectMode: false }));
}
