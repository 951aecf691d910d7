/**
 * What a verified acknowledgement means for a stream: a pure decision on our own chain.
 *
 * Forwards it needs proof: the head must be ours. Backwards it needs freshness: only an answer to bytes that are in
 * flight now may do so, because a broker can replay every acknowledgement the server ever signed.
 */
import type { AckMessage } from '@skein/protocol/batch/ack.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { StreamMark } from '../outbox/port.ts';

export type Judgement =
  /** Everything up to it is delivered. */
  | 'advance'
  /** Nothing new; the server wants what follows. */
  | 'repeat'
  /** The server has less than we counted, or its mark lies inside a bridge of ours. */
  | 'rewind'
  /** The server follows another chain under our name. */
  | 'fork'
  | 'ignore';

export interface OwnView {
  mark: StreamMark;
  /** Our chain head after `ack.upTo`, if we still know it. */
  ownHead: Sha256Hex | undefined;
  /** Does it answer something that is in flight? */
  fresh: boolean;
}

export function judgeAck(ack: AckMessage, { mark, ownHead, fresh }: OwnView): Judgement {
  if (ack.epoch !== mark.epoch) return 'ignore';
  const otherChain = ack.upTo >= mark.sealedNext || (ownHead !== undefined && ownHead !== ack.head);
  if (otherChain) return fresh ? 'fork' : 'ignore';
  if (ack.upTo >= mark.deliveredNext && ownHead !== undefined) return 'advance';
  if (ack.upTo === mark.deliveredNext - 1) return fresh ? 'repeat' : 'ignore';
  return fresh ? 'rewind' : 'ignore';
}
