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
import { FLAWS, type Flaw, MODEL, SimRepository } from './repository.ts';
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
  stages: ['1%', '10%', '50%', '100%'],
  soakMs: 30 * SECOND,
  stageDeadlineMs: 20 * MINUTE,
  onInconclusive: 'advance',
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
  #serverCrashes = 0;
  #stormy = true;
  #checked = new Map<string, number>();

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#chance = new Chance(options.seed);
    this.#flaw = options.flaw ?? this.#chance.pick(FLAWS);
    const weather = { loss: 0.03, duplication: 0.03, delayMs: [5, 2_000] as const };
    this.#network = new SimNetwork(this.#time, this.#chance, weather);
    this.#repository = new SimRepository(this.#chance);
    this.#checker = new Checker(this.#time, this.#repository);
    this.#checker.freshWithinMs = SPEC.freshWithinMs;
    this.#server = new SimServer(this.#time, this.#repository, this.#network);
    this.#checker.server = this.#server;
    const surroundings: Surroundings = {
      time: this.#time,
      chance: this.#chance,
      network: this.#network,
      server: this.#server,
      repository: this.#repository,
      checker: this.#checker,
      verify: remembering(nativeVerify),
      crashAtSave: 0.001,
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
    await this.#rollOut('1.0.0', null, 'done');
    await this.#everyone('1.0.0');
    await this.#rollOut('1.1.0', this.#flaw, 'halted');
    await this.#everyone('1.0.0');
    await this.#rollOut('1.2.0', null, 'done', 3);
    await this.#everyone('1.2.0');
    await this.#hostileDirector();
  }

  result(): WorldResult {
    return {
      seed: this.#options.seed,
      devices: this.#options.devices,
      flaw: this.#flaw,
      virtualMs: this.#time.now,
      events: this.#time.steps,
      checks: this.#checker.checks,
      crashes: this.#devices.reduce((n, d) => n + d.crashes, 0),
      serverCrashes: this.#serverCrashes,
      messagesLost: this.#network.lost,
      messagesRepeated: this.#network.repeated,
      harmed: this.#checker.ran('1.1.0').length,
    };
  }

  async #rollOut(version: string, flaw: Flaw, ends: Rollout['state'], floor?: number): Promise<void> {
    const { modelSha256 } = this.#repository.publish(version, flaw, floor);
    for (const device of this.#devices) device.trialCrashes = 0;
    const id = `r-${version.replaceAll('.', '-')}`;
    const spec: RolloutSpec = { ...SPEC, stages: [...SPEC.stages], version };
    const candidates = this.#devices.map((d) => ({
      device: d.id,
      previous: { version: this.#reportedVersion(d.id), order: this.#server.standing(d.id) },
    }));
    const create = () => this.#server.rollouts.create(id, spec, [modelSha256], candidates);
    await this.#until(() => this.#network.serverUp, HOUR, 'the server is up');
    void create().catch((thrown) => this.#checker.must(false, `${id}: ${thrown}`));
    this.#stormy = true;
    await this.#until(() => this.#state(id) === ends, 2 * DAY, `rollout ${version} is ${ends}`);
    const stage = this.#rollout(id)?.stage ?? 0;
    this.#checker.must(flaw === null || stage === 0, `a bad version got to stage ${stage + 1}`);
    this.#say(`${version} ${flaw ?? 'sound'}: ${this.#state(id)} after ${this.#hours()}`);
  }

  /** The weather clears; every device ends up with `version`, idle, with nothing unsaid. */
  async #everyone(version: string): Promise<void> {
    this.#stormy = false;
    for (const device of this.#devices) {
      this.#network.heal(device.id);
      device.connected();
    }
    const right = (d: SimDevice) => d.version === version && d.phase === 'idle' && d.unsent === 0;
    await this.#until(
      () => this.#devices.every(right),
      DAY,
      `every device runs ${version}`,
      () => {
        const odd = this.#devices.filter((d) => !right(d));
        const shown = odd.slice(0, 3).map((d) => `${d.id} ${d.version} ${d.phase} ${d.unsent}`);
        return `${odd.length} do not: ${shown.join('; ')}`;
      },
    );
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
    for (const d of victims) this.#checker.must(d.version === '1.2.0', `${d.id} obeyed a hostile order`);
    this.#say(`hostile orders refused after ${this.#hours()}`);
  }

  /** Crashes and partitions, as long as it is stormy. */
  #storm(): void {
    const share = this.#devices.length / 1_000;
    this.#time.after(this.#chance.between(0, (20 * SECOND) / Math.max(0.05, share)), () => this.#storm());
    if (!this.#stormy) return;
    const device = this.#chance.pick(this.#devices);
    const inTrial = device.phase === 'activating' || device.phase === 'probation';
    if (this.#chance.is(0.5) && !(inTrial && device.trialCrashes >= 2)) {
      device.crashAndReturn(this.#chance.between(2 * SECOND, 2 * MINUTE));
    } else {
      this.#network.cut(device.id);
      this.#time.after(this.#chance.between(MINUTE, 40 * MINUTE), () => {
        this.#network.heal(device.id);
        device.connected();
      });
    }
    if (this.#chance.is(0.02) && this.#network.serverUp) this.#crashServer();
  }

  #crashServer(): void {
    this.#serverCrashes++;
    this.#server.crash();
    this.#time.after(this.#chance.between(SECOND, MINUTE), () => this.#server.start());
  }

  async #until(reached: () => boolean, withinMs: Millis, what: string, more = () => ''): Promise<void> {
    const deadline = this.#time.now + withinMs;
    while (!reached()) {
      const went = await this.#time.step(deadline);
      this.#check();
      this.#checker.must(
        went,
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
    const proved = this.#server.reports.get(device)?.filter((r) => r.outcome === 'committed');
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
