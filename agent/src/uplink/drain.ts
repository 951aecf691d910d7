/**
 * Sealed batches up, acknowledgements down.
 *
 * Per stream at most {@link WINDOW} batches are in flight, in order, and {@link MAX_FLIGHT} bytes of all of them; streams
 * take turns, {@link TURNS} first, so what a person waits for goes ahead of any backlog. A batch leaves the window when
 * the server's signed head covers it, a bridge when it is answered itself. What was in flight when a connection broke
 * is sent again, the same bytes. What is not answered in time is sent again one by one until answers come, and the
 * connection is doubted. What an acknowledgement means is decided in `judge-ack.ts`; here it is done.
 */
import { ACK_DOMAIN, type AckMessage, parseAck } from '@skein/protocol/batch/ack.ts';
import { askedHash, NONCE_BYTES, withNonce } from '@skein/protocol/batch/nonce.ts';
import { isShortAck, openShortAck } from '@skein/protocol/batch/short-ack.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Log, Timer, Verify } from '@skein/protocol/ports.ts';
import { batchChannel, type Stream } from '@skein/protocol/topics.ts';
import { openEnvelope } from '@skein/protocol/trust/envelope.ts';
import { type Bytes, KIB, MINUTE, type Millis, SECOND, type Sha256Hex } from '@skein/protocol/units.ts';
import type { Outbox, SealedRow } from '../outbox/port.ts';
import { backoffMs } from './backoff.ts';
import { judgeAck } from './judge-ack.ts';
import type { Link } from './link.ts';

export interface DrainDeps {
  link: Link;
  outbox: Outbox;
  device: string;
  /** Hex keys that may acknowledge; empty until the director's word is known. */
  ackKeys(): readonly string[];
  verify: Verify;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  /** How often what is committed is sealed and sent. */
  batchIntervalMs: Millis;
  /** True once after each start of the server, which may have been restored from a backup; absent: nobody tells. */
  serverBegan?(): boolean;
  /** Does the server answer to a batch and its nonce, so that no answer of before will do? Absent: no. */
  takesNonces?(): boolean;
  /** A full disk while sealing, an identity used twice: for people. */
  trouble(error: SkeinError): void;
  /** First wait for an answer; doubles, with jitter, while none comes. */
  answerTimeoutMs?: Millis;
}

export interface Drain {
  start(): void;
  /**
   * Seals and sends what is committed a last time. Answers are still taken; nothing that was answered is asked anew, for
   * who stops does not wait for it: the next start asks.
   */
  stop(): void;
  /** Seals what is committed and sends it, now. */
  send(): void;
}

/** In this order: alarms and reports, then what is judged over weeks, then the many. */
const TURNS = ['events', 'drift', 'health', 'predictions'] as const satisfies readonly Stream[];
const WINDOW = 4;
/** About as much as a line of 64 kbit/s carries before an answer is overdue; a single batch may be larger. */
const MAX_FLIGHT: Bytes = 128 * KIB;
/** Batches of one stream that are sealed before others have their turn, and this thread too. */
const SEALED_AT_ONCE = 16;
const ANSWER_TIMEOUT_MS: Millis = 15 * SECOND;
const MAX_TIMEOUT_MS: Millis = 5 * MINUTE;

/**
 * A batch on its way. `order` is when it was last sent: 0 means it has to be sent again. `re` is what an answer to it
 * names: the same for as long as it is on its way, for an answer may come late.
 */
interface Sent {
  row: SealedRow;
  nonce: Uint8Array | undefined;
  re: Sha256Hex;
  order: number;
}

interface Lane {
  stream: Stream;
  sent: Map<Sha256Hex, Sent>;
  /** How many may be in flight now: one after a silence, then one more with each answer. */
  window: number;
  attempt: number;
  timer: Timer | undefined;
}

const answeredBy = (lane: Lane, re: Sha256Hex): Sent | undefined =>
  [...lane.sent.values()].find((sent) => sent.re === re);
const inFlight = (lane: Lane): Sent[] => [...lane.sent.values()].filter((sent) => sent.order > 0);

export const createDrain = (deps: DrainDeps): Drain => new RunningDrain(deps);

class RunningDrain implements Drain {
  readonly #deps: DrainDeps;
  readonly #lanes: Lane[];
  #order = 0;
  #sealTimer: Timer | undefined;
  #moreTimer: Timer | undefined;
  #stopped = true;

  constructor(deps: DrainDeps) {
    this.#deps = deps;
    const fresh = { window: WINDOW, attempt: 0, timer: undefined };
    this.#lanes = TURNS.map((stream) => ({ ...fresh, stream, sent: new Map() }));
    deps.link.onMessage('ack', (bytes) => this.#hear(bytes));
    deps.link.onConnect(() => this.#resendAll());
    deps.link.onDisconnect(() => this.#forgetTimers());
  }

  start(): void {
    this.#stopped = false;
    this.#tick();
  }

  stop(): void {
    if (this.#stopped) return;
    this.#seal();
    this.#pump();
    this.#stopped = true;
    this.#sealTimer?.cancel();
    this.#moreTimer?.cancel();
    this.#forgetTimers();
  }

  #tick(): void {
    this.#sealTimer = this.#deps.clock.after(this.#deps.batchIntervalMs, () => this.#tick());
    this.send();
  }

  send(): void {
    if (this.#stopped) return;
    this.#moreTimer?.cancel();
    if (this.#seal()) this.#moreTimer = this.#deps.clock.after(0, () => this.send());
    // Where something was sealed the answer to it tells anyway.
    if (this.#deps.serverBegan?.()) this.#serverBegan();
    this.#pump();
  }

  /** @returns whether more waits to be sealed */
  #seal(): boolean {
    let more = false;
    try {
      for (const stream of TURNS) {
        let sealed = 0;
        while (sealed < SEALED_AT_ONCE && this.#deps.outbox.seal(stream) !== undefined) sealed++;
        more ||= sealed === SEALED_AT_ONCE;
      }
    } catch (error) {
      this.#deps.trouble(asSkeinError(error));
      return false;
    }
    return more;
  }

  /** It may have forgotten what it answered before, and read another form: what is on its way is asked anew. */
  #serverBegan(): void {
    for (const { sent, stream } of this.#lanes) {
      sent.clear();
      this.#tell(() => this.#deps.outbox.offerNewest(stream));
    }
  }

  #resendAll(): void {
    for (const lane of this.#lanes) {
      lane.attempt = 0;
      lane.window = WINDOW;
      for (const sent of lane.sent.values()) sent.order = 0;
      this.#tell(() => this.#deps.outbox.askAgain(lane.stream));
    }
    this.#pump();
  }

  #tell(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#deps.trouble(asSkeinError(error));
    }
  }

  #forgetTimers(): void {
    for (const lane of this.#lanes) {
      lane.timer?.cancel();
      lane.timer = undefined;
    }
  }

  /** One batch of each stream in turn, until windows are full or nothing waits. */
  #pump(): void {
    if (this.#stopped || !this.#deps.link.connected) return;
    const waiting = this.#lanes.map((lane) => ({ lane, rows: this.#sendable(lane) }));
    for (let turn = 0; waiting.some(({ rows }) => turn < rows.length); turn++) {
      for (const { lane, rows } of waiting) {
        const row = rows[turn];
        if (row === undefined) continue;
        if (this.#fits(lane, row)) this.#transmit(lane, row);
        // Nothing of a stream overtakes what is before it.
        else rows.length = turn;
      }
    }
  }

  #fits(lane: Lane, row: SealedRow): boolean {
    const flying = this.#lanes.map((each) => ({ each, rows: inFlight(each) }));
    if (flying.some(({ each, rows }) => each === lane && rows.length === 0)) return true;
    const bytes = flying.flatMap(({ rows }) => rows).reduce((sum, sent) => sum + sent.row.bytes.length, 0);
    return bytes + row.bytes.length <= MAX_FLIGHT;
  }

  /** Of the stream's oldest, those not on their way. */
  #sendable(lane: Lane): SealedRow[] {
    const room = lane.window - inFlight(lane).length;
    if (room <= 0) return [];
    const rows = this.#deps.outbox.pending(lane.stream, WINDOW);
    const hashes = new Set(rows.map((row) => row.hash));
    // What is no longer pending was delivered, dropped or re-told: no answer to it is waited for.
    for (const hash of lane.sent.keys()) if (!hashes.has(hash)) lane.sent.delete(hash);
    return rows.filter((row) => (lane.sent.get(row.hash)?.order ?? 0) === 0).slice(0, room);
  }

  #transmit(lane: Lane, row: SealedRow): void {
    const { link, log } = this.#deps;
    const sent = lane.sent.get(row.hash) ?? this.#asking(row);
    sent.order = ++this.#order;
    lane.sent.set(row.hash, sent);
    this.#watch(lane);
    const bytes = sent.nonce ? withNonce(sent.nonce, row.bytes) : row.bytes;
    link.publish(batchChannel(lane.stream), bytes).catch((error) => {
      // Connection gone or congested: the next connect, or the timer, sends it again.
      log.info('batch not sent', { stream: lane.stream, seq: row.seq, error: asSkeinError(error).message });
    });
  }

  #asking(row: SealedRow): Sent {
    if (!this.#deps.takesNonces?.()) return { row, nonce: undefined, re: row.hash, order: 0 };
    const nonce = this.#deps.entropy.bytes(NONCE_BYTES);
    return { row, nonce, re: askedHash(nonce, row.hash), order: 0 };
  }

  /** One timer per stream, from the last progress on. */
  #watch(lane: Lane): void {
    if (lane.timer || this.#stopped) return;
    const { clock, entropy, answerTimeoutMs = ANSWER_TIMEOUT_MS } = this.#deps;
    const policy = { baseMs: answerTimeoutMs, capMs: MAX_TIMEOUT_MS };
    const waitMs = answerTimeoutMs + (lane.attempt > 0 ? backoffMs(lane.attempt, entropy, policy) : 0);
    lane.timer = clock.after(waitMs, () => {
      lane.timer = undefined;
      lane.attempt++;
      lane.window = 1;
      for (const sent of lane.sent.values()) sent.order = 0;
      this.#deps.link.doubt();
      this.#pump();
    });
  }

  #hear(bytes: Uint8Array): void {
    const { ackKeys, verify, device, log } = this.#deps;
    try {
      if (isShortAck(bytes)) {
        for (const hash of openShortAck(verify, ackKeys(), device, bytes)) this.#takeShort(hash);
        return;
      }
      const payload = openEnvelope(verify, ackKeys(), ACK_DOMAIN, device, bytes);
      this.#take(parseAck.parse(payload, 'ack'));
    } catch (thrown) {
      const { code, message } = asSkeinError(thrown);
      log.warn('acknowledgement refused', { code, message });
    }
  }

  /** It says of bytes of ours that they are stored, and so is all before them. */
  #takeShort(hash: Sha256Hex): void {
    const row = this.#lanes.map((lane) => answeredBy(lane, hash)?.row).find((sent) => sent !== undefined);
    if (row === undefined || row.bridge) return;
    const { stream, epoch, upTo } = row;
    this.#take({ stream, epoch, upTo, head: row.hash, re: hash });
  }

  #take(ack: AckMessage): void {
    const { outbox } = this.#deps;
    const lane = this.#lanes.find(({ stream }) => stream === ack.stream)!;
    const answered = ack.re === undefined ? undefined : answeredBy(lane, ack.re);
    // What names none of our questions was said before one of them, perhaps by a server that has forgotten since.
    if (answered === undefined && this.#deps.takesNonces?.()) return;
    const settles = answered?.row.bridge === true && ack.stored !== undefined;
    if (settles) {
      outbox.settle(ack.stream, answered.row.hash, ack.stored!);
      lane.sent.delete(answered.row.hash);
      this.#progress(lane);
    }
    const own = { mark: outbox.mark(ack.stream), ownHead: outbox.headAt(ack.stream, ack.upTo) };
    const judgement = judgeAck(ack, { ...own, fresh: answered !== undefined });
    switch (judgement) {
      case 'advance':
        if (outbox.delivered(ack)) this.#advance(lane, ack.upTo);
        break;
      case 'repeat':
        if (!settles) this.#missing(lane, answered!);
        break;
      case 'rewind':
        if (outbox.rewind(ack)) this.#startOver(lane);
        else this.#forked(lane, ack);
        break;
      case 'fork':
        this.#forked(lane, ack);
        break;
      case 'ignore':
        break;
      default:
        judgement satisfies never;
    }
    this.#pump();
  }

  #progress(lane: Lane): void {
    lane.attempt = 0;
    lane.window = Math.min(WINDOW, lane.window + 1);
    lane.timer?.cancel();
    lane.timer = undefined;
    if (lane.sent.size > 0) this.#watch(lane);
  }

  #advance(lane: Lane, upTo: number): void {
    for (const [hash, { row }] of lane.sent) {
      if (row.upTo <= upTo && !row.bridge) lane.sent.delete(hash);
    }
    this.#progress(lane);
  }

  /** The server saw a later batch first: it and all that was sent before it has to go again. */
  #missing(lane: Lane, answered: Sent): void {
    for (const sent of lane.sent.values()) {
      if (sent.order < answered.order) sent.order = 0;
    }
    answered.order = 0;
  }

  #startOver(lane: Lane): void {
    lane.sent.clear();
    this.#progress(lane);
  }

  #forked(lane: Lane, ack: AckMessage): void {
    const { outbox, trouble } = this.#deps;
    outbox.abandonEpoch(lane.stream, ack.upTo);
    this.#startOver(lane);
    trouble(
      new SkeinError(
        'OUTBOX_FORKED',
        `the server follows another chain of ${lane.stream} under this identity`,
        {
          fix: 'A disk was copied or restored: enrol each copy by itself. This device goes on in a new epoch.',
          data: { stream: lane.stream, epoch: ack.epoch, upTo: ack.upTo },
        },
      ),
    );
  }
}
