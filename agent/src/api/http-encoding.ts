/** Content codings of the local API: gzip and deflate (zlib), both ways, as Triton's clients use them. */
import { promisify } from 'node:util';
import { createGunzip, createInflate, gzip } from 'node:zlib';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import type { HttpAnswer } from './http-answer.ts';
import { MAX_BODY } from './http-head.ts';

/** Shorter answers cost more to pack than they save. */
const WORTH_PACKING: Bytes = KIB;

const UNPACK = { gzip: createGunzip, 'x-gzip': createGunzip, deflate: createInflate } as const;
const pack = promisify(gzip);

/**
 * A bomb stops at the body's limit.
 * @param taken hears of every further byte before it is kept; what it throws ends this
 * @throws SkeinError REQUEST_INVALID, PAYLOAD_TOO_LARGE
 */
export async function unpacked(
  body: Uint8Array,
  coding: string | undefined,
  taken: (bytes: Bytes) => void,
): Promise<Uint8Array> {
  if (coding === undefined || coding === 'identity' || body.length === 0) return body;
  const unpack = UNPACK[coding.toLowerCase() as keyof typeof UNPACK];
  if (!unpack)
    throw new SkeinError('REQUEST_INVALID', `content coding \`${coding.slice(0, 40)}\` is unknown`, {
      fix: 'Send the body as it is, or with gzip or deflate.',
    });
  const stream = unpack();
  stream.end(body);
  try {
    return await joined(stream, taken);
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause;
    throw new SkeinError('REQUEST_INVALID', `the body is not ${coding}`, { cause });
  }
}

async function joined(stream: AsyncIterable<Buffer>, taken: (bytes: Bytes) => void): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size > MAX_BODY)
      throw new SkeinError('PAYLOAD_TOO_LARGE', `the body unpacks to more than ${MAX_BODY} bytes`);
    taken(part.length);
    parts.push(part);
  }
  return Buffer.concat(parts, size);
}

/** gzip where the client takes it and it is worth it. */
export async function packed(answer: HttpAnswer, accepted: string | undefined): Promise<HttpAnswer> {
  if (accepted === undefined || answer.body.length < WORTH_PACKING) return answer;
  if (!/(^|,)\s*(gzip|\*)\s*(;\s*q=(1|0?\.\d*[1-9]))?\s*(,|$)/i.test(accepted)) return answer;
  const body = await pack(answer.body);
  const headers = { ...answer.headers, 'Content-Encoding': 'gzip', Vary: 'Accept-Encoding' };
  return { ...answer, headers, body };
}
