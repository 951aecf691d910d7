/** What a person is told after preparing, signing or publishing. */
import type { Outcome } from './ceremony.ts';
import type { ApiClient, CliContext } from './client.ts';

export function showOutcome(ctx: CliContext, outcome: Outcome): void {
  const { published, file, signedBy, progress, changes } = outcome;
  if (ctx.output === 'json') {
    ctx.print(outcome);
    return;
  }
  const lines = [...changes];
  if (signedBy.length > 0) lines.push(`signed by ${signedBy.join(', ')}`);
  for (const { kind, what, have, need, open } of progress) {
    const who = have < need ? `; may sign: ${open.join(', ')}` : '';
    lines.push(`${have >= need ? 'enough' : 'lacking'}  ${kind}: ${have} of ${need} of ${what}${who}`);
  }
  lines.push(published ? 'Published.' : nextStep(file, outcome));
  process.stdout.write(`${lines.join('\n')}\n`);
}

function nextStep(file: string | null, { progress }: Outcome): string {
  const enough = progress.every(({ have, need }) => have >= need);
  return enough
    ? `Next, at the operator: skein keys publish ${file}`
    : `Next, at another holder: skein keys sign ${file}`;
}

export function showPublished(ctx: CliContext, changes: readonly string[]): void {
  if (ctx.output === 'json') ctx.print({ published: true, changes });
  else process.stdout.write(`${[...changes, 'Published.'].join('\n')}\n`);
}

/** Claim tokens carry the hash of the roots they were made with. */
export async function warnOfTokens(api: ApiClient): Promise<void> {
  const tokens = await api.all('listTokens').catch(() => []);
  const open = tokens.filter(({ usesLeft }) => usesLeft > 0).length;
  if (open === 0) return;
  process.stderr.write(
    `${open} claim token(s) were made before these roots and no longer fit: make new ones with \`skein tokens create\`.\n`,
  );
}
