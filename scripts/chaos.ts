/**
 * `npm run chaos -- --minutes N --seed S`: the real agents, server and broker under a seeded storm of faults, and an
 * outside auditor in the end. Exit code: 0 the ledger closes, 1 it does not, 2 wrong arguments, 130 stopped by a signal.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { findMosquitto } from '../test/contracts/mosquitto.ts';
import { type CampaignResult, runCampaign, Stopped } from './chaos/campaign.ts';
import { KINDS, missing } from './chaos/faults/all.ts';
import { type BrokerKind, describeMoment, drawPlan, type StrikeKind } from './chaos/plan.ts';
import { reportOf } from './chaos/report.ts';

const HELP = `Usage: npm run chaos -- [--minutes N] [--seed S] [--kills N] [options]

Real agents, a real server and a real broker under faults drawn from a seed. In the end everything heals and drains,
and an auditor reads both databases: every record ever accepted is stored exactly once, or named.

  --minutes N     how long it rages (2)
  --seed S        what is drawn; a run says its seed
  --kills N       end after so many SIGKILLs, if that is sooner
  --devices N     1 to 3 (2)
  --broker WHICH  embedded, mosquitto, or both: one after the other (both, where Mosquitto is installed)
  --faults A,B    only these: ${KINDS.join(', ')}
  --encrypted     the devices encrypt what lies on their disks
  --plan          print the first moments of the plan, and do nothing
  --keep          leave the folder with all files and logs
  --json          the result as one JSON object

Exit code: 0 the ledger closes, 1 it does not, 2 wrong arguments, 130 stopped by a signal.

Examples:
  npm run chaos -- --minutes 5
  npm run chaos -- --seed 42 --kills 1000 --minutes 60 --json
  npm run chaos -- --seed 42 --broker embedded --faults kill,partition --plan
`;

interface Arguments {
  seed: number;
  minutes: number;
  kills: number | undefined;
  devices: number;
  brokers: BrokerKind[];
  kinds: StrikeKind[];
  encrypted: boolean;
  keep: boolean;
  plan: boolean;
  json: boolean;
}

const OPTIONS = {
  minutes: { type: 'string', default: '2' },
  seed: { type: 'string', default: String(randomInt(2 ** 31)) },
  kills: { type: 'string' },
  devices: { type: 'string', default: '2' },
  broker: { type: 'string', default: findMosquitto() ? 'both' : 'embedded' },
  faults: { type: 'string', default: KINDS.join(',') },
  encrypted: { type: 'boolean', default: false },
  plan: { type: 'boolean', default: false },
  keep: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const BROKERS: Record<string, BrokerKind[]> = {
  embedded: ['embedded'],
  mosquitto: ['mosquitto'],
  both: ['embedded', 'mosquitto'],
};

/** @throws Error saying what is wrong with them */
function readArguments(args: string[]): Arguments | undefined {
  const { values } = parseArgs({ args, options: OPTIONS });
  if (values.help) return undefined;
  const { encrypted, plan, keep, json } = values;
  const asked = values.faults.split(',') as StrikeKind[];
  const strange = asked.find((kind) => !KINDS.includes(kind));
  if (strange !== undefined) throw new Error(`there is no fault \`${strange}\``);
  const lacks = missing();
  for (const kind of asked) if (lacks.has(kind)) process.stderr.write(`no ${kind}: ${lacks.get(kind)}\n`);
  const kinds = asked.filter((kind) => !lacks.has(kind));
  const brokers = BROKERS[values.broker];
  if (!brokers) throw new Error(`--broker is embedded, mosquitto or both, not ${values.broker}`);
  return {
    seed: numberIn('--seed', values.seed, 0, 2 ** 32),
    minutes: numberIn('--minutes', values.minutes, 0.01, 10_000, false),
    kills: values.kills === undefined ? undefined : numberIn('--kills', values.kills, 1, 1_000_000),
    devices: numberIn('--devices', values.devices, 1, 3),
    ...{ brokers, kinds, encrypted, plan, keep, json },
  };
}

function numberIn(name: string, text: string, least: number, most: number, whole = true): number {
  const value = Number(text);
  if (text !== '' && value >= least && value <= most && (!whole || Number.isSafeInteger(value))) return value;
  throw new Error(
    `${name} is ${whole ? 'a whole number' : 'a number'} from ${least} to ${most}, not ${text}`,
  );
}

const PLANNED = 40;

function printPlan(options: Arguments): void {
  for (const [i, broker] of options.brokers.entries()) {
    process.stdout.write(`seed ${options.seed}, ${options.devices} devices, ${broker} broker\n`);
    const plan = drawPlan({ ...options, broker, seed: options.seed + i });
    for (let i = 0; i < PLANNED; i++) process.stdout.write(`  ${describeMoment(plan.next().value)}\n`);
  }
}

export async function run(args: string[]): Promise<number> {
  let options: Arguments | undefined;
  try {
    options = readArguments(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n  → npm run chaos -- --help\n`);
    return 2;
  }
  if (!options) process.stdout.write(HELP);
  else if (options.plan) printPlan(options);
  else return rage(options);
  return 0;
}

async function rage(options: Arguments): Promise<number> {
  let result: CampaignResult;
  try {
    result = await runCampaign({ ...options, say: progress() });
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    process.stderr.write(`${error.message}; nothing was judged\n`);
    // What it was in the middle of would go on.
    process.exit(130);
  }
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : reportOf(result));
  return result.holds ? 0 : 1;
}

/** On a terminal one line that changes; elsewhere the plan as it is carried out, so that a log tells the story. */
function progress(): (line: string) => void {
  if (!process.stderr.isTTY) return (line) => void process.stderr.write(`${line}\n`);
  return (line) => void process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
}
