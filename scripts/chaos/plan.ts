/**
 * What is going to happen, drawn from a seed before it happens: a pure sequence of moments, so that a run can be told
 * beforehand and repeated. Times are what is asked for; a loaded machine takes longer.
 */
import type { Millis } from '@skein/protocol/units.ts';
import { Chance } from '../../test/sim/seeded.ts';
import { LINK_WEATHERS, type LinkWeather } from './linux-netns.ts';
import { WEATHERS } from './tcp-route.ts';

export type BrokerKind = 'embedded' | 'mosquitto';

export type Strike =
  /** SIGKILL; `again` is after how long its next life ends, mostly while it still starts. */
  | { kind: 'kill'; who: string; again: Millis | null }
  /** SIGSTOP, and SIGCONT after a while: whoever talks to it has a half-open link. */
  | { kind: 'pause'; who: string }
  | { kind: 'partition'; route: string; weather: (typeof WEATHERS)[number] }
  | { kind: 'network'; who: string; weather: LinkWeather }
  | { kind: 'disk-full'; who: string }
  /** Every fsync fails. */
  | { kind: 'fsync-eio'; who: string }
  /** `to` as libfaketime has it. */
  | { kind: 'clock'; who: string; to: string }
  | { kind: 'broker-wiped' }
  /** A backup of the server is made, and later put back. */
  | { kind: 'restored' }
  | { kind: 'hostile-broker'; seed: number };

export type StrikeKind = Strike['kind'];

export interface Moment {
  strike: Strike;
  /** Whoever dies is first let become ready. */
  settled: boolean;
  afterMs: Millis;
  /** Of what lasts. */
  forMs: Millis;
}

export interface PlanOptions {
  seed: number;
  devices: number;
  broker: BrokerKind;
  kinds: readonly StrikeKind[];
}

/** How often each is drawn. */
const WEIGHTS: Record<StrikeKind, number> = {
  kill: 24,
  pause: 3,
  partition: 4,
  network: 4,
  'disk-full': 2,
  'fsync-eio': 2,
  clock: 3,
  'broker-wiped': 1,
  restored: 1,
  'hostile-broker': 2,
};
/** Only where the broker is a process of its own. */
const EXTERNAL: readonly StrikeKind[] = ['broker-wiped', 'hostile-broker'];

const TIMES = ['@1970-01-01 00:00:20', '-40d', '-3600', '+90', '+3600', '+5d'];

/** Without end. */
export function* drawPlan({ seed, devices, broker, kinds }: PlanOptions): Generator<Moment, never> {
  const chance = new Chance(seed);
  const agents = Array.from({ length: devices }, (_, i) => `agent-${i + 1}`);
  const external = broker !== 'embedded';
  const parties = [...agents, ...agents, 'server', ...(external ? ['broker'] : [])];
  const owners = [...agents, 'server'];
  const routes = [...agents.flatMap((agent) => [`${agent}/mqtts`, `${agent}/https`])];
  if (external) routes.push('server/mqtt');
  const able = kinds.filter((kind) => external || !EXTERNAL.includes(kind));
  const bag = able.flatMap((kind) => Array.from({ length: WEIGHTS[kind] }, () => kind));
  const strikes: { [K in StrikeKind]: () => Extract<Strike, { kind: K }> } = {
    kill: () => ({
      kind: 'kill',
      who: chance.pick(parties),
      again: chance.is(0.3) ? Math.round(chance.between(0, 900)) : null,
    }),
    pause: () => ({ kind: 'pause', who: chance.pick(parties) }),
    partition: () => ({ kind: 'partition', route: chance.pick(routes), weather: chance.pick(WEATHERS) }),
    network: () => ({ kind: 'network', who: chance.pick(agents), weather: chance.pick(LINK_WEATHERS) }),
    'disk-full': () => ({ kind: 'disk-full', who: chance.pick(owners) }),
    'fsync-eio': () => ({ kind: 'fsync-eio', who: chance.pick(owners) }),
    clock: () => ({ kind: 'clock', who: chance.pick(owners), to: chance.pick(TIMES) }),
    'broker-wiped': () => ({ kind: 'broker-wiped' }),
    restored: () => ({ kind: 'restored' }),
    'hostile-broker': () => ({ kind: 'hostile-broker', seed: chance.below(2 ** 31) }),
  };
  for (;;) {
    const strike = strikes[chance.pick(bag)]();
    yield {
      strike,
      settled: chance.is(0.6),
      afterMs: Math.round(chance.between(0, 900)),
      forMs: Math.round(chance.between(300, 6_000)),
    };
  }
}

/** What it lays hands on: two faults of one thing do not overlap. */
export function thingOf(strike: Strike): string {
  switch (strike.kind) {
    case 'kill':
      return `life of ${strike.who}`;
    case 'partition':
      return strike.route;
    case 'broker-wiped':
    case 'hostile-broker':
      return 'broker';
    case 'restored':
      return 'restored';
    case 'pause':
    case 'network':
    case 'disk-full':
    case 'fsync-eio':
    case 'clock':
      return `${strike.kind} of ${strike.who}`;
    default:
      return strike satisfies never;
  }
}

/** One line for people. */
export function describeMoment({ strike, settled, afterMs, forMs }: Moment): string {
  const { kind, ...rest } = strike;
  const words = Object.values(rest).filter((value) => value !== null);
  const lasting = kind === 'kill' || kind === 'broker-wiped' ? '' : ` for ${forMs} ms`;
  return `${kind} ${words.join(' ')}${lasting}, ${settled ? 'settled, ' : ''}after ${afterMs} ms`;
}
