/**
 * A fleet, a server and an operator in one seed. The story: a first version reaches everyone through a bad network;
 * a bad version is stopped in its first stage and taken back; a sound one follows it, signed with a floor; a hostile
 * director then orders what may not run; in the end the network heals and every device runs the right version.
 * Real: update machine and shell, trust client, rollout machine, shell, cohorts, gate, signatures. Simulated: time,
 * network, disk, inference, preflight's child, the two stores.
 */
import { nativeVerify } from '@skein/agent/system-clock.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import type { RolloutSpec } from '@skein/protocol/rollout.ts';
import { DAY, HOUR, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Rollout } from '../../fleet-server/src/rollouts/rollout.ts';
import { sha256 } from '../protocol/trust/simulated-repository.ts';
import { Checker, PromiseBroken } from './checker.ts';
import { SimDevice, type Surroundings } from './device.ts';
import { SimNetwork } from './network.ts';
import { FLAWS, type Flaw, MODEL, PREFLIGHT_FLAWS, SimRepository, type SimVersion } from './repository.ts';
import { Chance } from './seeded.ts';
import { SimServer } from './server.ts';
import { VirtualTime } from './virtual-time.ts';

export interface WorldOptions {
  seed: number;
  devices: number;
  /** Chosen by the seed when absent. */
  flaw?: NonNullable<Flaw>;
  progress?: (line: string) => void;
}

export interface WorldResult {
  seed: number;
  devices: number;
  flaw: Flaw;
  flawShare: number;
  /** Virtual time that passed. */
  virtualMs: Millis;
  events: number;
  checks: number;
  crashes: number;
  serverCrashes: number;
  messagesLost: number;
  messagesRepeated: number;
  /** Devices on which the bad version ever inferred. */
  harmed: number;
}

/** @throws PromiseBroken naming the seed, the moment and what was broken */
export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  const world = new World(options);
  try {
    await world.live();
    return world.result();
  } catch (thrown) {
    if (!(thrown instanceof Error)) throw thrown;
    const replay = `replay: npm run simulate -- --seed ${options.seed} --devices ${options.devices}`;
    throw new PromiseBroken(`seed ${options.seed}, ${thrown.message}\n${replay}`, { cause: thrown });
  }
}

const SPEC = {
  model: MODEL,
  group: 'all',
  stages: ['2%', '10%', '50%', '100%'],
  soakMs: 30 * SECOND,
  stageDeadlineMs: 20 * MINUTE,
  onInconclusive: 'hold',
  maxFailures: 0,
  approval: 'none',
  probation: {
    minInferences: 20,
    minMs: 10 * SECOND,
    deadlineMs: 5 * MINUTE,
    maxErrorRate: 0.05,
    maxLatencyRatio: 3,
  },
  freshWithinMs: 10 * MINUTE,
} as const satisfies Omit<RolloutSpec, 'version' | 'stages'> & { stages: readonly string[] };

class World {
  readonly #options: WorldOptions;
  readonly #flaw: NonNullable<Flaw>;
  readonly #time = new VirtualTime();
  readonly #chance: Chance;
  readonly #repository: SimRepository;
  readonly #network: SimNetwork;
  readonly #server: SimServer;
  readonly #checker: Checker;
  readonly #devices: SimDevice[];
  readonly #flawShare: number;
  #askedMs: Millis = Number.NEGATIVE_INFINITY;
  #stormy = true;
  #checked = new Map<string, number>();

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#chance = new Chance(options.seed);
    this.#flaw = options.flaw ?? this.#chance.pick(FLAWS);
    this.#flawShare = PREFLIGHT_FLAWS.includes(this.#flaw) || this.#chance.is(0.5) ? 1 : 0.6;
    const weather = { loss: 0.03, duplication: 0.03, delayMs: [5, 2_000] as const };
    this.#network = new SimNetwork(this.#time, this.#chance, weather);
    this.#repository = new SimRepository(this.#chance);
    this.#checker = new Checker(this.#time, this.#repository);
    this.#checker.freshWithinMs = SPEC.freshWithinMs;
    this.#server = new SimServer(this.#time, this.#chance, this.#repository, this.#network);
    this.#checker.server = this.#server;
    this.#server.crashAtWrite = 1 / Math.max(500, 3 * options.devices);
    const surroundings: Surroundings = {
      time: this.#time,
      chance: this.#chance,
      network: this.#network,
      server: this.#server,
      repository: this.#repository,
      checker: this.#checker,
      verify: remembering(nativeVerify),
      crashAtSave: 0.002,
    };
    this.#devices = Array.from({ length: options.devices }, (_, i) => {
      return new SimDevice(`d-${String(i).padStart(6, '0')}`, surroundings);
    });
    const byId = new Map(this.#devices.map((d) => [d.id, d]));
    this.#server.announce = (id) => this.#network.send(id, () => byId.get(id)?.connected());
  }

  async live(): Promise<void> {
    for (const device of this.#devices)
      this.#time.after(this.#chance.between(0, MINUTE), () => device.boot());
    this.#storm();
    await this.#rollOut(this.#repository.publish('1.0.0', null));
    await this.#everyone('1.0.0');
    await this.#rollOut(this.#repository.publish('1.1.0', this.#flaw, this.#flawShare));
    await this.#everyone('1.0.0');
    await this.#rollOut(this.#repository.publish('1.2.0', null, 1, 3));
    await this.#everyone('1.2.0');
    await this.#hostileDirector();
  }

  result(): WorldResult {
    return {
      seed: this.#options.seed,
      devices: this.#options.devices,
      flaw: this.#flaw,
      flawShare: this.#flawShare,
      virtualMs: this.#time.now,
      events: this.#time.steps,
      checks: this.#checker.checks,
      crashes: this.#devices.reduce((n, d) => n + d.crashes, 0),
      serverCrashes: this.#server.crashes,
      messagesLost: this.#network.lost,
      messagesRepeated: this.#network.repeated,
      harmed: this.#checker.ran('1.1.0').length,
    };
  }

  async #rollOut({ version, flaw, flawShare, modelSha256 }: SimVersion): Promise<void> {
    for (const device of this.#devices) device.trialCrashes = 0;
    const id = `r-${version.replaceAll('.', '-')}`;
    const spec: RolloutSpec = { ...SPEC, stages: [...SPEC.stages], version };
    const candidates = this.#devices.map((d) => ({
      device: d.id,
      previous: { version: this.#reportedVersion(d.id), order: this.#server.standing(d.id) },
    }));
    const create = () => this.#server.rollouts.create(id, spec, [modelSha256], candidates);
    this.#stormy = true;
    const ends: Rollout['state'][] = flaw === null ? ['done'] : ['halted', 'rolled-back'];
    await this.#until(() => this.#operated(id, create, flaw, ends), 3 * DAY, `rollout ${version} is ${ends}`);
    const stage = this.#rollout(id)?.stage ?? 0;
    this.#checker.must(
      flaw === null || flawShare < 1 || stage === 0,
      `a bad version got to stage ${stage + 1}`,
    );
    this.#say(
      `${version} ${flaw ?? 'sound'}: ${this.#state(id)} in stage ${stage + 1} after ${this.#hours()}`,
    );
  }

  /** A person starts it, and looks at a held rollout now and then: what is sound goes on, what is not goes back. */
  #operated(
    id: string,
    create: () => Promise<unknown>,
    flaw: Flaw,
    ends: readonly Rollout['state'][],
  ): boolean {
    const rollout = this.#rollout(id);
    if (rollout && ends.includes(rollout.state)) return true;
    const patient = this.#time.now - this.#askedMs < 10 * MINUTE;
    if (patient || !this.#network.serverUp) return false;
    if (rollout && (rollout.state !== 'held' || this.#time.wall - rollout.updatedAt < HOUR)) return false;
    this.#askedMs = this.#time.now;
    if (rollout) this.#checker.approved.add(id);
    const steer = () => this.#server.rollouts.steer(id, flaw === null ? 'approve' : 'rollback');
    this.#ask(rollout ? steer : create);
    return false;
  }

  /** A server that dies in a command answers nothing; the person asks again. */
  #ask(command: () => Promise<unknown>): void {
    void command().catch((thrown: { code?: string }) => {
      this.#checker.must(thrown.code === 'CONFLICT', `a command failed: ${thrown}`);
    });
  }

  /** The weather clears; every device ends up with `version`, idle, with nothing unsaid. */
  async #everyone(version: string): Promise<void> {
    this.#stormy = false;
    for (const device of this.#devices) {
      this.#network.heal(device.id);
      device.connected();
    }
    const right = (d: SimDevice) => d.version === version && d.phase === 'idle' && d.unsent === 0;
    let odd: SimDevice | undefined = this.#devices[0];
    // Who was not right a moment ago most likely still is not: that is looked at first.
    const everyone = () => {
      if (odd && !right(odd)) return false;
      odd = this.#devices.find((d) => !right(d));
      return odd === undefined;
    };
    await this.#until(everyone, DAY, `every device runs ${version}`, () => {
      const others = this.#devices.filter((d) => !right(d));
      const shown = others.slice(0, 3).map((d) => `${d.id} ${d.version} ${d.phase} ${d.unsent}`);
      return `${others.length} do not: ${shown.join('; ')}`;
    });
    this.#say(`all ${this.#devices.length} devices run ${version} after ${this.#hours()}`);
  }

  /** Orders a release below the floor and one that nobody signed: both are refused, and nothing else runs. */
  async #hostileDirector(): Promise<void> {
    const victims = this.#devices.slice(0, 20);
    for (const [i, device] of victims.entries()) {
      const version = i % 2 === 0 ? '1.0.0' : '9.9.9';
      const { probation, freshWithinMs } = SPEC;
      const order: Order = {
        id: `evil.${i}`,
        rollout: 'r-evil',
        model: MODEL,
        version,
        probation,
        freshWithinMs,
      };
      this.#server.order(device.id, order);
    }
    const refused = (d: SimDevice) => {
      return (
        this.#server.reports.get(d.id)?.some((r) => r.rollout === 'r-evil' && r.outcome === 'refused') ===
        true
      );
    };
    await this.#until(
      () => victims.every(refused),
      DAY,
      'hostile orders are refused',
      () => {
        return victims
          .filter((d) => !refused(d))
          .map((d) => `${d.id} ${d.phase}`)
          .join(', ');
      },
    );
    await this.#everyone('1.2.0');
    this.#checker.must(this.#checker.ran('9.9.9').length === 0, 'somebody obeyed a hostile order');
    this.#say(`hostile orders refused after ${this.#hours()}`);
  }

  /** Crashes and partitions, as long as it is stormy. */
  #storm(): void {
    const share = this.#devices.length / 1_000;
    this.#time.after(this.#chance.between(0, (20 * SECOND) / Math.max(0.05, share)), () => this.#storm());
    if (!this.#stormy) return;
    const device = this.#chance.pick(this.#devices);
    const inTrial = device.phase === 'activating' || device.phase === 'probation';
    const kind = this.#chance.below(3);
    if (kind > 0) this.#cut(device);
    if (kind < 2 && !(inTrial && device.trialCrashes >= 2)) {
      device.crashAndReturn(this.#chance.between(2 * SECOND, 2 * MINUTE));
    }
    if (this.#chance.is(0.02)) this.#server.crashAndReturn();
  }

  #cut(device: SimDevice): void {
    this.#network.cut(device.id);
    this.#time.after(this.#chance.between(MINUTE, 40 * MINUTE), () => {
      this.#network.heal(device.id);
      device.connected();
    });
  }

  async #until(reached: () => boolean, withinMs: Millis, what: string, more = () => ''): Promise<void> {
    const deadline = this.#time.now + withinMs;
    while (!reached()) {
      const went = await this.#time.step(deadline);
      this.#check();
      if (went) continue;
      this.#checker.must(
        false,
        `it is not so that ${what} within ${Math.round(withinMs / HOUR)} h; ${more()}`,
      );
    }
  }

  #check(): void {
    if (this.#checker.broken) throw this.#checker.broken;
    for (const { rollout, revision } of this.#server.store.rows.values()) {
      if (this.#checked.get(rollout.id) === revision) continue;
      this.#checked.set(rollout.id, revision);
      this.#checker.rollout(rollout);
    }
  }

  #rollout(id: string): Rollout | undefined {
    return this.#server.store.rows.get(id)?.rollout;
  }

  #state(id: string): Rollout['state'] | undefined {
    return this.#rollout(id)?.state;
  }

  #reportedVersion(device: string): string | null {
    const proved = this.#server.reports
      .get(device)
      ?.filter((r) => r.outcome === 'committed' || r.outcome === 'unproven');
    return proved?.at(-1)?.version ?? null;
  }

  #hours(): string {
    return `${(this.#time.now / HOUR).toFixed(1)} h`;
  }

  #say(line: string): void {
    this.#options.progress?.(line);
  }
}

/** Image documents are the same for every device: a signature that verified once is not computed again. */
function remembering(verify: Verify): Verify {
  const known = new Map<string, boolean>();
  return (publicKey, message, signature) => {
    const key = sha256(Buffer.concat([publicKey, signature, message]));
    const before = known.get(key);
    if (before !== undefined) return before;
    const verdict = verify(publicKey, message, signature);
    known.set(key, verdict);
    return verdict;
  };
}
