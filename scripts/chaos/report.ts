/** The outcome of a campaign as a table for people. */
import type { Account } from './audit.ts';
import type { CampaignResult } from './campaign.ts';

const COLUMNS = ['accepted', 'stored', 'pending', 'dropped', 'lost', 'unknown', 'duplicates'] as const;
const RANGES = 10;

const counts = (of: Record<string, number>): string =>
  Object.entries(of)
    .map(([name, n]) => `${n} ${name}`)
    .join(', ') || 'none';

const row = (first: string, cells: readonly (string | number)[]): string =>
  `  ${first.padEnd(22)}${cells.map((cell) => String(cell).padStart(11)).join('')}`;

export function reportOf(result: CampaignResult): string {
  const { accounts, kills, strikes, bootKills, endings, seconds, holds } = result;
  const total = Object.values(kills).reduce((sum, n) => sum + n, 0);
  const ended = Object.entries(endings).flatMap(([name, all]) => all.map((how) => `${name} ${how}`));
  const sum = (key: (typeof COLUMNS)[number]) => accounts.reduce((all, account) => all + account[key], 0);
  return `${[
    `seed ${result.seed}, ${result.brokers.join(' and ')} broker, ${seconds.toFixed(0)} s`,
    `faults   ${counts(strikes)}`,
    `kills    ${total}: ${counts(kills)}; ${bootKills} of them before it was ready`,
    `ended by themselves: ${ended.length === 0 ? 'none' : ended.slice(-RANGES).join(', ')}`,
    row('', COLUMNS),
    ...accounts.map((account) =>
      row(
        `${account.device} ${account.stream}`,
        COLUMNS.map((key) => account[key]),
      ),
    ),
    row('all', COLUMNS.map(sum)),
    ...accounts.flatMap(named),
    ...accounts.flatMap(({ device, findings }) => findings.map((what) => `  BROKEN ${device} ${what}`)),
    holds ? 'verdict  the ledger closes' : 'verdict  THE LEDGER DOES NOT CLOSE',
  ].join('\n')}\n`;
}

/** Exact ranges of what is not at the server. */
function named({ device, stream, losses }: Account): string[] {
  const lines = losses.map(({ kind, epoch, from, to, reason }) => {
    return `  ${kind} ${device} ${stream} ${epoch} ${from}…${to}: ${reason}`;
  });
  const more = lines.length - RANGES;
  return more > 0 ? [...lines.slice(0, RANGES), `  … ${more} more ranges of ${device} ${stream}`] : lines;
}
