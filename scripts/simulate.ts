/**
 * `npm run simulate -- --seed N --devices N --worlds N`: seeded worlds; the first broken promise ends it with its seed.
 * `npm run simulate -- --attack --seed N --campaigns N`: seeded attacks on one device each.
 * `npm run simulate -- --delivery --seed N --campaigns N`: seeded hours of one device's deliveries through everything at once.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { SkeinError } from '@skein/protocol/errors.ts';
import { runCampaign } from '../test/sim/attack/campaign.ts';
import { runDelivery } from '../test/sim/delivery/world.ts';
import { runWorld } from '../test/sim/world.ts';

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string', default: String(randomInt(2 ** 31)) },
      devices: { type: 'string', default: '1000' },
      worlds: { type: 'string', default: '1' },
      attack: { type: 'boolean', default: false },
      delivery: { type: 'boolean', default: false },
      campaigns: { type: 'string', default: '1000' },
    },
  });
  if (values.delivery) return delivery(wholeNumber(values.seed), wholeNumber(values.campaigns));
  if (values.attack) return attack(wholeNumber(values.seed), wholeNumber(values.campaigns));
  const [first, devices, worlds] = [values.seed, values.devices, values.worlds].map(wholeNumber) as [
    number,
    number,
    number,
  ];
  for (let seed = first; seed < first + worlds; seed++) {
    process.stdout.write(`seed ${seed}, ${devices} devices\n`);
    const startedAt = performance.now();
    const result = await runWorld({ seed, devices, progress: (line) => process.stdout.write(`  ${line}\n`) });
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    process.stdout.write(`  held: ${result.checks} checks at ${result.events} events, ${seconds} s\n`);
    process.stdout.write(`  ${JSON.stringify(result)}\n`);
  }
  return 0;
}

/** The first that does not hold ends it with 1. */
async function delivery(first: number, campaigns: number): Promise<number> {
  process.stdout.write(`seed ${first}, ${campaigns} campaigns\n`);
  const sums = { accepted: 0, stored: 0, dropped: 0, lost: 0, unknown: 0, duplicates: 0, deaths: 0, lies: 0 };
  for (let seed = first; seed < first + campaigns; seed++) {
    const { accounts, findings, deaths, lies } = await runDelivery(seed);
    if (findings.length > 0) {
      process.stdout.write(`  seed ${seed}:\n${findings.map((what) => `    ${what}`).join('\n')}\n`);
      return 1;
    }
    sums.deaths += deaths;
    sums.lies += lies;
    for (const key of ['accepted', 'stored', 'dropped', 'lost', 'unknown', 'duplicates'] as const)
      sums[key] += accounts.reduce((all, account) => all + account[key], 0);
    if ((seed - first + 1) % 100 === 0) process.stdout.write(`  ${seed - first + 1} held\n`);
  }
  process.stdout.write(`  held: ${JSON.stringify(sums)}\n`);
  return 0;
}

async function attack(first: number, campaigns: number): Promise<number> {
  process.stdout.write(`seed ${first}, ${campaigns} campaigns\n`);
  const codes = new Map<string, number>();
  let [trials, installed] = [0, 0];
  for (let seed = first; seed < first + campaigns; seed++) {
    const result = await runCampaign(seed);
    trials += result.trials;
    installed += result.installed;
    for (const [code, times] of result.codes) codes.set(code, (codes.get(code) ?? 0) + times);
    const done = seed - first + 1;
    if (done % 500 === 0) process.stdout.write(`  ${done} held\n`);
  }
  process.stdout.write(
    `  held: 0 unapproved and 0 below-floor models in ${trials} trials, ${installed} installed\n`,
  );
  process.stdout.write(`  refused: ${JSON.stringify(Object.fromEntries(codes))}\n`);
  return 0;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new SkeinError('CONFIG_INVALID', `${text} is not a whole number`, {
    fix: 'Use --seed, --devices, --worlds and --campaigns with whole numbers.',
  });
}
