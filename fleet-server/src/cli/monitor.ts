/**
 * `skein monitor`: live readings of the fleet over the event stream. In a terminal the table is repainted in place;
 * when output is a file or `-o json`, one line an event.
 */
import type { DeviceSummary, StreamEvents } from '@skein/protocol/api.ts';
import type { StateMessage } from '@skein/protocol/messages.ts';
import type { Command } from 'commander';
import type { ApiClient, CliContext } from './client.ts';
import { ago, type Column, formatTable } from './table.ts';

/** Readings kept a device, and the width of its sparkline. */
const HISTORY = 30;
const REPAINT_MS = 250;
const BARS = '▁▂▃▄▅▆▇█';

interface Row {
  summary: DeviceSummary;
  state: StateMessage | undefined;
  scores: number[];
}

/** Scales to the range of what is shown; a flat line is drawn low. */
export function sparkline(values: readonly number[]): string {
  const low = Math.min(...values);
  const span = Math.max(...values) - low;
  const bar = (value: number) => BARS[span > 0 ? Math.round(((value - low) / span) * (BARS.length - 1)) : 0]!;
  return values.filter(Number.isFinite).map(bar).join('');
}

const metric = (name: string, digits: number) => (row: Row) => {
  const value = (row.state as Record<string, unknown> | undefined)?.[name];
  return typeof value === 'number' ? value.toFixed(digits) : '–';
};

const COLUMNS: Column<Row>[] = [
  { title: 'DEVICE', value: (r) => r.summary.id },
  { title: 'NAME', value: (r) => r.summary.name },
  { title: 'STATE', value: (r) => (r.summary.online ? 'online' : 'offline') },
  { title: 'SEEN', value: (r) => ago(r.state?.ts ?? r.summary.lastSeen, Date.now()) },
  { title: 'MODEL', value: (r) => r.summary.model ?? '–' },
  { title: 'LABEL', value: (r) => r.state?.label ?? '–' },
  { title: 'SCORE', value: metric('score', 3), align: 'right' },
  { title: 'LAST READINGS', value: (r) => sparkline(r.scores).padEnd(HISTORY) },
  { title: 'MS', value: metric('latency_ms', 2), align: 'right' },
  { title: 'STORED', value: (r) => r.summary.predictions, align: 'right' },
];

export function addMonitorCommand(program: Command, ctx: CliContext): void {
  program
    .command('monitor')
    .description('Live readings of the fleet; Ctrl-C ends it')
    .option('--device <id>', 'only this device')
    .action(async ({ device }: { device?: string }) => {
      const api = await ctx.api();
      const stop = new AbortController();
      process.once('SIGINT', () => stop.abort());
      const wanted = (id: string) => device === undefined || device === id;
      if (ctx.output === 'json' || !process.stdout.isTTY) await printLines(api, stop.signal, wanted);
      else await paint(api, stop.signal, wanted);
    });
}

const deviceOf = (type: string, data: unknown): string | undefined =>
  type === 'device' ? (data as DeviceSummary).id : (data as { device?: string }).device;

async function printLines(
  api: ApiClient,
  signal: AbortSignal,
  wanted: (id: string) => boolean,
): Promise<void> {
  for await (const { type, data } of api.events(signal)) {
    const id = deviceOf(type, data);
    if (id === undefined || wanted(id)) process.stdout.write(`${JSON.stringify({ type, data })}\n`);
  }
}

async function paint(api: ApiClient, signal: AbortSignal, wanted: (id: string) => boolean): Promise<void> {
  const rows = new Map<string, Row>();
  const take = (summary: DeviceSummary) => {
    const known = rows.get(summary.id);
    if (known) known.summary = summary;
    else if (wanted(summary.id)) rows.set(summary.id, { summary, state: undefined, scores: [] });
  };
  const list = async () => {
    const known = await api.all('listDevices', { query: {} });
    for (const id of rows.keys()) if (!known.some((summary) => summary.id === id)) rows.delete(id);
    for (const summary of known) take(summary);
  };
  await list();
  const repaint = setInterval(() => process.stdout.write(screen(rows)), REPAINT_MS);
  try {
    for await (const { type, data } of api.events(signal)) {
      if (type === 'reset') await list();
      if (type === 'device') take(data as DeviceSummary);
      if (type === 'state') takeState(rows, data as StreamEvents['state']);
    }
  } finally {
    clearInterval(repaint);
  }
}

function takeState(rows: Map<string, Row>, { device, state }: StreamEvents['state']): void {
  const row = rows.get(device);
  if (!row) return;
  row.state = state;
  if (state.score !== undefined) row.scores = [...row.scores, state.score].slice(-HISTORY);
}

/** Home, then each line cleared to its end, then what is left below. */
function screen(rows: Map<string, Row>): string {
  const table = formatTable([...rows.values()], COLUMNS);
  return `\u001b[H${table.replaceAll('\n', '\u001b[K\n')}\u001b[J`;
}
