/** Which of a group's answers are said, and in how many words. */
import { askedHash } from '@skein/protocol/batch/nonce.ts';
import { chainHead } from '@skein/protocol/batch/sealed.ts';
import { MAX_ANSWERED } from '@skein/protocol/batch/short-ack.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { Answer, Verified } from './run-commit.ts';

/** An ack speaks for all before it, but every bridge gets an answer of its own. */
export function lastWords(answers: readonly Answer[]): Answer[] {
  const last = new Map(answers.map((a) => [`${a.device}/${a.ack.stream}/${a.ack.epoch}`, a]));
  const spoken = new Set(last.values());
  return answers.filter((a) => a.ack.stored !== undefined || spoken.has(a));
}

/**
 * Who sends the second form is answered in short where there is no more to say than that this very batch is stored and
 * nothing behind it: together for all streams of a device, one signature.
 */
export function inWords(answers: readonly Answer[]): {
  short: { device: string; hashes: string[] }[];
  full: Answer[];
} {
  const fits = ({ of: { batch }, ack }: Answer) =>
    batch.body.encoding === 'compact' && batch.header.bridge === null && ack.head === batch.head;
  const short: { device: string; hashes: string[] }[] = [];
  for (const { device, of } of answers.filter(fits)) {
    const open = short.find((one) => one.device === device && one.hashes.length < MAX_ANSWERED);
    if (open) open.hashes.push(answeredHash(of));
    else short.push({ device, hashes: [answeredHash(of)] });
  }
  return { short, full: answers.filter((answer) => !fits(answer)) };
}

/** What an answer is about: SHA-256 of the very bytes, and with a nonce that of both. */
export function answeredHash({ batch, bytes, nonce }: Verified): Sha256Hex {
  const own = batch.header.bridge === null ? batch.head : chainHead(bytes);
  return nonce ? askedHash(nonce, own) : own;
}
