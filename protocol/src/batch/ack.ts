/**
 * The server's word on how far a stream is stored, inside a signed envelope (domain {@link ACK_DOMAIN}).
 * The same shape answers a gap: `upTo + 1` is then what the server wants next.
 */
import { type Static, Type } from 'typebox';
import { checker, oneOf, strict } from '../schema.ts';
import { STREAMS } from '../topics.ts';

export const ACK_DOMAIN = 'skein/ack';

const hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

export const AckMessage = strict({
  stream: oneOf(STREAMS),
  epoch: Type.String({ pattern: '^[0-9a-f]{16}$' }),
  upTo: Type.Integer({ minimum: -1, description: 'Last sequence number accounted for; -1: nothing yet' }),
  head: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Chain head after upTo' }),
  /** Only an answer to something now in flight may move a device backwards: replays can not. */
  re: Type.Optional({
    ...hash,
    description: 'SHA-256 of the very bytes this answers; of nonce and that when they came with one',
  }),
  stored: Type.Optional(
    Type.Boolean({ description: 'Answer to a bridge: were its records stored before it came after all?' }),
  ),
});

export type AckMessage = Static<typeof AckMessage>;
export const parseAck = checker(AckMessage, 'MESSAGE_INVALID', 4096);
