import { NO_HEAD } from '@skein/protocol/batch/header.ts';
import { describe, expect, it } from 'vitest';
import { type Judgement, judgeAck, type OwnView } from '../../../agent/src/uplink/judge-ack.ts';

const A = 'aa'.repeat(32);
const B = 'bb'.repeat(32);
const EPOCH = '0123456789abcdef';
const mark = { epoch: EPOCH, deliveredNext: 10, sealedNext: 30 };
const ack = (upTo: number, head = A, epoch = EPOCH) => ({ stream: 'health' as const, epoch, upTo, head });
const view = (ownHead: string | undefined, fresh: boolean): OwnView => ({ mark, ownHead, fresh });

describe('an acknowledgement', () => {
  it.each<[string, ReturnType<typeof ack>, OwnView, Judgement]>([
    ['of our head moves forward, fresh or not', ack(19), view(A, false), 'advance'],
    ['of our head moves forward up to all that is sealed', ack(29), view(A, true), 'advance'],
    ['of what we know delivered is nothing new', ack(9), view(A, true), 'repeat'],
    ['of what we know delivered, replayed, is nothing at all', ack(9), view(A, false), 'ignore'],
    ['of less than we counted takes us back when it answers us now', ack(4), view(A, true), 'rewind'],
    ['of less than we still remember takes us back as well', ack(4), view(undefined, true), 'rewind'],
    ['of less, replayed by a broker, does nothing', ack(4), view(A, false), 'ignore'],
    ['of nothing at all takes us to the start', ack(-1, NO_HEAD), view(NO_HEAD, true), 'rewind'],
    ['inside of a bridge takes us there', ack(15), view(undefined, true), 'rewind'],
    ['of another head at our number is a fork', ack(19, B), view(A, true), 'fork'],
    ['of another head, replayed, is nothing', ack(19, B), view(A, false), 'ignore'],
    ['of numbers we never sealed is a fork', ack(30), view(undefined, true), 'fork'],
    ['of an older epoch is nothing', ack(19, A, 'f'.repeat(16)), view(A, true), 'ignore'],
  ])('%s', (_, given, own, judgement) => {
    expect(judgeAck(given, own)).toBe(judgement);
  });
});
