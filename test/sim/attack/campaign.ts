/**
 * One campaign: honest days and attacks in a random order, crashes and wrong clocks between them, all from one seed. In
 * the end the attack is over, stolen keys are taken back by the holders of the offline root, and the device must install
 * what is then ordered: refusing everything would keep every promise but that one.
 */
import { nativeVerify } from '@skein/agent/system-clock.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import { DAY, HOUR, MINUTE, type Millis } from '@skein/protocol/units.ts';
import { sha256 } from '../../protocol/trust/simulated-repository.ts';
import { PromiseBroken } from '../checker.ts';
import { Chance } from '../seeded.ts';
import { VirtualTime } from '../virtual-time.ts';
import { Attacker, type Hand, KEYED, MOVE_NAMES, MOVES, type MoveName, ownKeys } from './attacker.ts';
import { type Approved, HARDWARE, Honest, type OnlineKeys, VICTIM } from './honest.ts';
import { Oracle, type Power } from './oracle.ts';
import { Victim } from './victim.ts';

export interface CampaignResult {
  seed: number;
  power: Power;
  /** Moves made, in order. */
  moves: MoveName[];
  crashes: number;
  trials: number;
  installed: number;
  /** Code → how often something was refused with it. */
  codes: ReadonlyMap<string, number>;
}

const MODELS = ['gas', 'host'] as const;

/** @throws PromiseBroken naming the seed, what was done and what was broken */
export async function runCampaign(seed: number): Promise<CampaignResult> {
  const campaign = new Campaign(seed);
  try {
    return await campaign.run();
  } catch (thrown) {
    const why = thrown instanceof PromiseBroken ? thrown.message : (thrown as Error).stack;
    const replay = `replay: npm run simulate -- --attack --seed ${seed} --campaigns 1`;
    throw new PromiseBroken(`seed ${seed}: ${why}\n  ${campaign.trail.join(', ')}\n${replay}`, {
      cause: thrown,
    });
  }
}

class Campaign {
  /** What happened, for whoever reads a failure. */
  readonly trail: string[] = [];
  readonly #seed: number;
  readonly #chance: Chance;
  readonly #time = new VirtualTime();
  readonly #honest: Honest;
  readonly #oracle: Oracle;
  readonly #attacker: Attacker;
  readonly #victim: Victim;
  readonly #moves: MoveName[] = [];
  readonly #power: Power;
  readonly #stolen: OnlineKeys;
  #crashes = 0;
  #evilVersion = 0;
  #orderedIds: string[] = [];

  constructor(seed: number) {
    this.#seed = seed;
    this.#chance = new Chance(seed);
    this.#honest = new Honest(this.#chance, this.#time.wall);
    for (const model of [...MODELS, ...MODELS]) this.#honest.approve(model);
    this.#oracle = new Oracle(this.#honest);
    this.#power = this.#chance.is(0.6) ? 'keys' : 'network';
    this.#oracle.power = this.#power;
    this.#stolen = this.#power === 'keys' ? this.#honest.online : ownKeys;
    this.#attacker = new Attacker(this.#honest);
    this.#victim = new Victim({
      time: this.#time,
      chance: this.#chance,
      oracle: this.#oracle,
      upstream: this.#attacker,
      verify: remembering(nativeVerify),
      roots: this.#honest.roots,
    });
  }

  async run(): Promise<CampaignResult> {
    this.#victim.boot();
    this.#order();
    await this.#pass(5 * MINUTE);
    const steps = this.#chance.between(5, 10);
    for (let step = 0; step < steps; step++) await this.#step();
    await this.#recover();
    const { trials, installed, codes } = this.#oracle;
    return {
      seed: this.#seed,
      power: this.#power,
      moves: this.#moves,
      crashes: this.#crashes,
      trials,
      installed,
      codes,
    };
  }

  async #step(): Promise<void> {
    const dice = this.#chance.unit();
    if (dice < 0.35) this.#honestDay();
    else if (dice < 0.85) this.#attack();
    else if (dice < 0.93) this.#setClock();
    else await this.#cutPower();
    await this.#pass(this.#chance.pick([MINUTE, 3 * MINUTE, 12 * MINUTE, 30 * MINUTE]));
    if (this.#chance.is(0.15)) await this.#cutPower();
    if (this.#chance.is(0.12)) await this.#sleep(this.#chance.between(4 * DAY, 20 * DAY));
  }

  #honestDay(): void {
    this.#say('honest');
    this.#attacker.grips = [];
    const dice = this.#chance.unit();
    if (dice < 0.3) this.#honest.approve(this.#chance.pick(MODELS), { raise: this.#chance.is(0.5) });
    else if (dice < 0.4) this.#honest.approve(this.#chance.pick(MODELS), { tags: ['cuda'] });
    else if (dice < 0.55 && this.#honest.models.length > 2) this.#revoke();
    else if (dice < 0.62) this.#honest.rotateTargets(this.#time.wall);
    // One that is replaced before the device hears of it is what a replay would be for.
    if (this.#chance.is(0.4)) this.#order();
    this.#order();
  }

  #revoke(): void {
    const one = this.#chance.pick(this.#honest.models);
    this.#say(`revoke ${one.custom.version}`);
    this.#honest.revoke(one);
  }

  /** The server's honest choice for either device. */
  #order(): void {
    for (const device of [VICTIM, 'd-neighbour00']) {
      const able = this.#honest.models.filter(
        (m) => fits(m) && m.custom.release >= this.#honest.floorOf(m.custom.model),
      );
      if (able.length === 0) return;
      const { id, version } = this.#honest.order(device, this.#chance.pick(able));
      this.#say(`order ${version} as ${id}${device === VICTIM ? '' : ' to the neighbour'}`);
      if (device === VICTIM) this.#orderedIds.push(id);
    }
  }

  #attack(): void {
    const hand = this.#hand();
    const able = MOVE_NAMES.filter((name) => this.#power === 'keys' || !KEYED.includes(name));
    const names = Array.from({ length: 1 + this.#chance.below(3) }, () => this.#chance.pick(able));
    this.#moves.push(...names);
    this.#say(names.join(' + '));
    this.#attacker.grips = names.map((name) => MOVES[name](hand));
  }

  #hand(): Hand {
    return {
      honest: this.#honest,
      chance: this.#chance,
      time: this.#time,
      power: this.#power,
      keys: this.#stolen,
      spent: this.#orderedIds,
      setClock: (offMs) => {
        this.#victim.clockOffMs = offMs;
      },
      nextVersion: () => {
        this.#evilVersion =
          Math.max(this.#evilVersion, this.#honest.directorVersion, this.#honest.image.versions.timestamp) +
          1;
        return this.#evilVersion;
      },
    };
  }

  #setClock(): void {
    const off = this.#chance.pick([
      -this.#time.wall,
      -30 * DAY,
      -2 * DAY,
      2 * DAY,
      6 * DAY,
      200 * DAY,
      4000 * DAY,
      0,
    ]);
    this.#say(`clock off by ${Math.round(off / DAY)} d`);
    this.#victim.clockOffMs = off;
  }

  /** Once, or as often as it takes to shake a device's faith in its last good model. */
  async #cutPower(): Promise<void> {
    const times = this.#chance.is(0.25) ? 4 : 1;
    this.#say(`power cut × ${times}`);
    for (let cut = 0; cut < times; cut++) {
      this.#cutOnce();
      this.#victim.boot();
      await this.#run(this.#chance.between(0, 500));
    }
  }

  #cutOnce(): void {
    this.#crashes++;
    const past = this.#chance.pick(this.#honest.history);
    const files = Object.entries(past.image).map(
      ([file, bytes]) => [file.replace(/^\d+\.|\.json$/g, ''), bytes] as const,
    );
    this.#victim.crash([...files, ['director', past.orders.get(VICTIM)!]]);
  }

  /** Days in which the server goes on signing, whatever of it reaches the device: off for most of them, it wakes for the last hours. */
  async #sleep(forMs: Millis): Promise<void> {
    this.#say(`${Math.round(forMs / DAY)} d pass`);
    const awakeMs = this.#chance.between(0, HOUR);
    this.#cutOnce();
    for (let left = forMs; left > 0; left -= DAY) {
      this.#honest.tick(this.#time.wall);
      await this.#run(Math.min(left, DAY));
    }
    this.#victim.boot();
    await this.#pass(awakeMs);
  }

  async #pass(forMs: Millis): Promise<void> {
    this.#honest.tick(this.#time.wall);
    void this.#victim.refresh();
    await this.#run(forMs);
  }

  async #run(forMs: Millis): Promise<void> {
    const until = this.#time.now + forMs;
    for (let events = 0; await this.#time.step(until); events++) {
      if (this.#oracle.broken) throw new PromiseBroken(this.#oracle.broken);
      if (events > 200_000) throw new PromiseBroken('the device does not come to rest');
    }
    this.#time.jump(until);
    if (this.#oracle.broken) throw new PromiseBroken(this.#oracle.broken);
  }

  /** Nothing that was done may keep the device from going on once it is over. */
  async #recover(): Promise<void> {
    this.#say('recovery');
    this.#attacker.grips = [];
    this.#victim.clockOffMs = 0;
    if (this.#power === 'keys') {
      this.#honest.recover(this.#time.wall);
      this.#oracle.recoveredBy = this.#honest.image.versions.root;
      this.#oracle.power = 'network';
    }
    const last = this.#honest.approve(this.#chance.pick(MODELS));
    this.#say(`order ${last.custom.version}`);
    this.#honest.order(VICTIM, last);
    const installed = () => this.#oracle.good(last.custom.model)?.manifestSha256 === last.manifestSha256;
    for (let hours = 0; !installed() && hours < 9 * 24; hours++) await this.#pass(HOUR);
    if (installed()) return;
    const { model } = last.custom;
    const why = `${this.#victim.phaseOf(model)}, ${this.#victim.failures.slice(-3).join(' ')}`;
    throw new PromiseBroken(
      `when it was over, the device did not install ${model} ${last.custom.version}: ${why}`,
    );
  }

  #say(what: string): void {
    this.trail.push(`${(this.#time.now / HOUR).toFixed(1)} h ${what}`);
  }
}

const fits = ({ custom }: Approved): boolean => custom.tags.every((tag) => HARDWARE.includes(tag));

const verdicts = new Map<string, boolean>();
const VERDICTS_MAX = 100_000;

/** A signature that was verified once is not computed again, in this campaign or another. */
function remembering(verify: Verify): Verify {
  return (publicKey, message, signature) => {
    const key = sha256(Buffer.concat([publicKey, signature, message]));
    const before = verdicts.get(key);
    if (before !== undefined) return before;
    if (verdicts.size > VERDICTS_MAX) verdicts.clear();
    const verdict = verify(publicKey, message, signature);
    verdicts.set(key, verdict);
    return verdict;
  };
}
