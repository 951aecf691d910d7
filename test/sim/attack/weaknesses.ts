/**
 * The same campaigns against a verifier with one check taken out: `node weaknesses.ts SEED` prints, for each, the seed that
 * caught it and what was broken, as JSON. A check is taken out of the source while it is loaded; each weakness has a copy of
 * all modules of its own, and one whose text no longer occurs exactly once is an error, not a weakness that nobody catches.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { runCampaign } from './campaign.ts';

type Edit = readonly [file: string, from: string, to: string];

const WEAKNESSES: Readonly<Record<string, readonly Edit[]>> = {
  'no signature is checked': [['trust/signatures.ts', 'if (count >= role.threshold) return;', 'return;']],
  'one signature is enough': [
    ['trust/signatures.ts', 'if (count >= role.threshold) return;', 'if (count >= 1) return;'],
  ],
  'nothing expires': [
    ['trust/root-chain.ts', 'if (expiresAt(signed) > now) return;', 'return;'],
    ['update/trust-client.ts', 'return this.now() < validUntil ? view', 'return validUntil > 0 ? view'],
  ],
  'older image metadata is taken': [
    ['trust/trusted-set.ts', 'if (version < floor) throw rollback(', 'if (version < 0) throw rollback('],
  ],
  'older words of the director are taken': [
    ['trust/director.ts', 'if (signed.version < context.floor)', 'if (signed.version < 0)'],
  ],
  'the device id is not compared': [
    ['trust/director.ts', 'if (said.device !== context.device)', 'if (!said.device)'],
  ],
  'the director is believed alone': [
    ['update/agreement.ts', 'agree(order, named, file,', 'agree(order, named, file ?? named,'],
  ],
  'the hardware is not compared': [
    ['trust/director.ts', 'if (missing.length > 0)', 'if (missing.length > 99)'],
  ],
  'the floor is not compared': [
    ['trust/director.ts', 'if (custom.release < floor)', 'if (custom.release < 0)'],
  ],
  'bytes are not hashed': [
    [
      'sim/disk.ts',
      'if (this.#bytes.length !== this.#size || sha256(this.#bytes) !== this.#sha)',
      'if (this.#bytes.length !== this.#size)',
    ],
  ],
  'an order that is over is carried out again': [
    [
      'update/moves.ts',
      'state.ended.some((e) => e.order === order)',
      "state.ended.some((e) => e.order === 'never' + order)",
    ],
  ],
  'what is barred stays to fall back to': [
    ['update/barred.ts', 'if (custom.release >= floor) return undefined;', 'return undefined;'],
    ['update/barred.ts', 'previous.release < floor ?', 'previous.release < 0 ?'],
  ],
  'stolen time outlives the stolen keys': [
    ['update/refresh-image.ts', 'refresh.set.recovered ? 0 : before.highestTimeAt', 'before.highestTimeAt'],
  ],
  'stolen versions outlive the stolen keys': [
    ['trust/trusted-set.ts', '...(withdrawn ? NO_FLOORS : this.floors)', '...this.floors'],
  ],
};

const TREE = /\/(protocol\/src|agent\/src|test\/sim|test\/protocol)\//;
const MAX_CAMPAIGNS = 150;

/** `?weak=N` on a module goes on to everything of ours that it imports. */
registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    const weak = /\?weak=\d+$/.exec(context.parentURL ?? '')?.[0];
    return weak && TREE.test(resolved.url)
      ? { ...resolved, url: `${resolved.url.split('?')[0]}${weak}` }
      : resolved;
  },
  load(url, context, next) {
    const at = /^(.*)\?weak=(\d+)$/.exec(url);
    if (!at) return next(url, context);
    const [name, edits] = Object.entries(WEAKNESSES)[Number(at[2])]!;
    const mine = edits.filter(([file]) => at[1]!.endsWith(`/${file}`));
    const text = readFileSync(fileURLToPath(at[1]!), 'utf8');
    const source = mine.reduce((whole, edit) => edited(name, whole, edit), text);
    return { format: 'module-typescript', source, shortCircuit: true };
  },
});

function edited(name: string, text: string, [file, from, to]: Edit): string {
  if (text.split(from).length !== 2) throw new Error(`“${name}” no longer fits ${file}: ${from}`);
  return text.replace(from, () => to);
}

export interface Caught {
  weakness: string;
  seed: number | null;
  why: string;
}

async function attack(weakness: string, at: number, first: number): Promise<Caught> {
  const url = `${new URL('./campaign.ts', import.meta.url)}?weak=${at}`;
  const campaign = (await import(url)) as { runCampaign: typeof runCampaign };
  for (let seed = first; seed < first + MAX_CAMPAIGNS; seed++) {
    try {
      await campaign.runCampaign(seed);
    } catch (thrown) {
      return { weakness, seed, why: (thrown as Error).message.split('\n')[0]! };
    }
  }
  return { weakness, seed: null, why: `nothing was found in ${MAX_CAMPAIGNS} campaigns` };
}

const caught: Caught[] = [];
for (const [at, weakness] of Object.keys(WEAKNESSES).entries())
  caught.push(await attack(weakness, at, Number(process.argv[2] ?? 1)));
process.stdout.write(`${JSON.stringify(caught)}\n`);
