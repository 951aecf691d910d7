/** `npm run simulate -- --seed N --devices N --worlds N`: seeded worlds; the first broken promise ends it with its seed. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { SkeinError } from '@skein/protocol/errors.ts';
import { runWorld } from '../test/sim/world.ts';

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string', default: String(randomInt(2 ** 31)) },
      devices: { type: 'string', default: '1000' },
      worlds: { type: 'string', default: '1' },
    },
  });
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

function wholeNumber(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new SkeinError('CONFIG_INVALID', `${text} is not a whole number`, {
    fix: 'Use --seed, --devices and --worlds with whole numbers.',
  });
}
