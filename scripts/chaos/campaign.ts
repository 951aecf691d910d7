/**
 * A plan carried out on a field: moments one after the other, what lasts healed in its own time; then everything heals,
 * everything drains, and the auditor looks at the files of the dead.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type Account, audit } from './audit.ts';
import { faultOf } from './faults/all.ts';
import { lifeOf } from './faults/fault.ts';
import { type Device, Field } from './field.ts';
import { type BrokerKind, describeMoment, drawPlan, type Moment, type StrikeKind, thingOf } from './plan.ts';
import { type OutboxStream, readLiveStreams, readServer } from './sqlite-files.ts';

export interface CampaignOptions {
  seed: number;
  minutes: number;
  /** Ends it before its time. */
  kills?: number | undefined;
  devices: number;
  /** One after the other, each for its share. */
  brokers: readonly BrokerKind[];
  kinds: readonly StrikeKind[];
  /** The devices encrypt what lies on their disks. */
  encrypted?: boolean;
  /** The folder stays, for who wants to look. */
  keep: boolean;
  /** Before the folder goes. */
  inspect?(field: Field): void;
  say(line: string): void;
}

export interface CampaignResult {
  seed: number;
  brokers: readonly BrokerKind[];
  folder: string;
  strikes: Record<string, number>;
  kills: Record<string, number>;
  /** Of these, before the process was ready. */
  bootKills: number;
  /** Ends that nobody asked for, by process. */
  endings: Record<string, string[]>;
  accounts: Account[];
  seconds: number;
  holds: boolean;
}

/** Asked to end before its time: nothing was judged. */
export class Stopped extends Error {}

/** For a backlog of minutes on a loaded machine. */
const DRAIN_MS: Millis = 4 * MINUTE;
const STOP_MS: Millis = 20 * SECOND;
const LOOK_MS: Millis = 100;
/** An agent that hears of a server's start asks about its newest batches anew, and may be stopped in that moment. */
const DRAIN_LIVES = 3;

const pause = (ms: Millis) => new Promise<void>((wake) => setTimeout(wake, ms));

export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const folder = mkdtempSync(join(tmpdir(), `skein-chaos-${process.pid}-`));
  const field = new Field({ ...options, folder });
  const campaign = new Campaign(field, options);
  const work = (async () => {
    await field.open();
    await campaign.rage();
    await campaign.settle();
  })();
  try {
    await Promise.race([work, signalled()]);
    options.inspect?.(field);
    return campaign.result();
  } catch (error) {
    if (error instanceof Stopped) throw error;
    const words = [(error as Error).message, ...endingsOf(field), lastWords(folder)];
    throw new Error(words.join('\n'), { cause: error });
  } finally {
    work.catch(() => {});
    await field.close();
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  }
}

/** Whoever is asked to stop takes its processes along. */
const signalled = (): Promise<never> =>
  new Promise((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.once(signal, () => reject(new Stopped(`stopped by ${signal}`)));
  });

class Campaign {
  readonly #field: Field;
  readonly #options: CampaignOptions;
  readonly #startedAt = performance.now();
  #beganAt: number | undefined;
  readonly #strikes: Record<string, number> = {};
  /** What lasts, by the thing it has hold of. */
  readonly #lasting = new Map<string, Promise<void>>();

  constructor(field: Field, options: CampaignOptions) {
    this.#field = field;
    this.#options = options;
  }

  get #kills(): number {
    return [...this.#field.lives().values()].reduce((sum, { kills }) => sum + kills, 0);
  }

  async rage(): Promise<void> {
    const { brokers, seed, minutes, kills = Number.POSITIVE_INFINITY } = this.#options;
    for (const [i, broker] of brokers.entries()) {
      if (i > 0) await this.#field.use(broker);
      const share = (i + 1) / brokers.length;
      this.#options.say(`seed ${seed}, ${broker} broker`);
      await this.#rageWith(broker, seed + i, { kills: kills * share, untilMs: minutes * MINUTE * share });
    }
  }

  async #rageWith(broker: BrokerKind, seed: number, end: { kills: number; untilMs: Millis }): Promise<void> {
    const { devices, kinds, say } = this.#options;
    this.#beganAt ??= performance.now();
    for (const moment of drawPlan({ seed, devices, broker, kinds })) {
      if (performance.now() - this.#beganAt >= end.untilMs || this.#kills >= end.kills) break;
      say(`${String(this.#kills).padStart(5)} kills  ${describeMoment(moment)}`);
      await this.#strike(moment);
    }
    await Promise.all(this.#lasting.values());
  }

  async #strike({ strike, settled, afterMs, forMs }: Moment): Promise<void> {
    if (settled && 'who' in strike) await this.#canBeReady(strike.who);
    await pause(afterMs);
    const thing = thingOf(strike);
    await this.#lasting.get(thing);
    this.#strikes[strike.kind] = (this.#strikes[strike.kind] ?? 0) + 1;
    const heal = await faultOf(strike).begin(this.#field, strike);
    if (heal) this.#lasting.set(thing, pause(forMs).then(heal));
  }

  /** As long as something lasts it may not get there. */
  async #canBeReady(who: string): Promise<void> {
    const ready = lifeOf(this.#field, who).ready();
    const healed = Promise.all(this.#lasting.values()).then(() => ready);
    await Promise.race([ready, healed]);
  }

  /** Everything is well, and nothing new comes: what waits comes to an end. */
  async settle(): Promise<void> {
    const { devices, server, broker } = this.#field;
    this.#options.say('everything heals');
    await Promise.all([server.ready(), broker?.ready()]);
    await Promise.all(devices.map(({ life }) => life.stop(STOP_MS)));
    this.#field.quieten();
    let lives = 0;
    do await this.#drain();
    while (this.#waits() && ++lives < DRAIN_LIVES);
    await server.stop(STOP_MS);
  }

  /** In the files of the dead. */
  #waits(): boolean {
    const streams = this.#field.devices.flatMap(({ observer }) => observer.last?.streams ?? []);
    return streams.some(({ pending }) => pending.length > 0);
  }

  /** One more life, until nothing waits. */
  async #drain(): Promise<void> {
    const { devices } = this.#field;
    const before = devices.map((device) => acceptedOf(device, 'health'));
    for (const { life } of devices) life.start();
    await this.#until('everything drained', () =>
      devices.every((device, i) => isDrained(device.stateDir, before[i]!)),
    );
    await Promise.all(devices.map(({ life }) => life.stop(STOP_MS)));
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    const deadline = performance.now() + DRAIN_MS;
    while (!holds()) {
      if (performance.now() > deadline) {
        const streams = this.#field.devices.map(({ stateDir }) => streamsOf(stateDir));
        throw new Error(`not within ${DRAIN_MS} ms: ${what}; ${JSON.stringify(streams.map(shortly))}`);
      }
      await pause(LOOK_MS);
    }
  }

  result(): CampaignResult {
    const { seed, brokers } = this.#options;
    const accounts = auditField(this.#field);
    const lives = [...this.#field.lives().values()];
    return {
      seed,
      brokers,
      folder: this.#field.folder,
      strikes: this.#strikes,
      kills: Object.fromEntries(lives.map(({ name, kills }) => [name, kills])),
      bootKills: lives.reduce((sum, { bootKills }) => sum + bootKills, 0),
      endings: Object.fromEntries(lives.map(({ name, endings }) => [name, endings])),
      accounts,
      seconds: (performance.now() - this.#startedAt) / SECOND,
      holds:
        accounts.length > 0 && accounts.every(({ findings, pending }) => findings.length + pending === 0),
    };
  }
}

/** @param store the server's database, or a copy of it */
export function auditField({ store: own, devices }: Field, store: string = own): Account[] {
  const stored = readServer(store);
  return devices.flatMap(({ id, name, observer }) => {
    const { seen, changed, claimed, last } = observer;
    const server = stored.get(id) ?? [];
    return audit({ device: name, streams: last?.streams ?? [], seen, changed, claimed, server });
  });
}

const acceptedOf = ({ observer }: Device, stream: string): number =>
  observer.last?.streams.find((one) => one.stream === stream)?.accepted ?? 0;

function streamsOf(stateDir: string): OutboxStream[] {
  try {
    return readLiveStreams(join(stateDir, 'outbox.db'));
  } catch {
    // It is being made, or written to for long.
    return [];
  }
}

const isDrained = (stateDir: string, healthBefore: number): boolean => {
  const streams = streamsOf(stateDir);
  const health = streams.find(({ stream }) => stream === 'health');
  return (health?.accepted ?? 0) > healthBefore && streams.every(({ pending }) => pending.length === 0);
};

const shortly = (streams: OutboxStream[]) =>
  streams.map(({ stream, accepted, stored, pending }) => ({
    stream,
    accepted,
    stored,
    pending: pending.length,
  }));

/** Of those that ended without being killed: a port that somebody else took, a disk that would not have them. */
const endingsOf = (field: Field): string[] =>
  [...field.lives().values()].flatMap(({ name, endings }) =>
    endings.length > 0 ? [`${name} ended by itself: ${endings.slice(-5).join(', ')}`] : [],
  );

function lastWords(folder: string): string {
  const logs = join(folder, 'state/logs');
  return readdirSync(logs)
    .flatMap((name) => {
      const lines = readFileSync(join(logs, name), 'utf8').trimEnd().split('\n');
      return lines.slice(-12).map((line) => `${name}: ${line}`);
    })
    .join('\n');
}
