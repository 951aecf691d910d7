/** What `status` and `buffer` show people: aligned columns, figures to the right. */
import type { AgentStatus } from '../api/status.ts';
import { readiness } from '../api/status.ts';
import type { ConfigKey } from '../config/keys.ts';
import type { SourceOf } from '../config/schema.ts';
import { formatUnit } from '../config/units.ts';
import { type ShadowStatus, SKIPS } from '../inference/shadow.ts';
import type { TallyReport } from '../sources/tally.ts';
import type { Finding } from './doctor-check.ts';
import type { SelftestOutcome } from './selftest.ts';
import type { SourceTestReport } from './source-test.ts';

export function table(header: string[], rows: (string | number)[][]): string {
  const lines = [header, ...rows.map((row) => row.map(String))];
  const widths = header.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  const numeric = header.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === 'number'));
  const show = (line: string[]) =>
    line
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  return lines.map(show).join('\n');
}

const ago = (ms: number | null): string => (ms === null ? 'never' : `${(ms / 1000).toFixed(1)} s ago`);

export function statusText(status: AgentStatus): string {
  const { ready, reason } = readiness(status);
  const parts = [
    `${status.device} of fleet ${status.fleet}, ${status.connected ? 'connected' : 'not connected'}, ${ready ? 'ready' : 'not ready'}: ${reason}; a power cut loses at most ${formatUnit('duration', status.lossWindowMs)}`,
    atRestText(status.atRest),
    table(
      ['SOURCE', 'KIND', 'MODEL', 'STATE', 'READINGS', 'BAD', 'DROPPED', 'LATEST'],
      status.sources.map((s) => [
        s.name,
        s.kind,
        s.model,
        s.state,
        s.readings,
        s.bad,
        s.dropped,
        ago(s.silentMs),
      ]),
    ),
  ];
  if (status.sinks.length > 0)
    parts.push(
      table(
        ['SINK', 'KIND', 'DELIVERED', 'QUEUED', 'DROPPED', 'REFUSED', 'PROBLEM'],
        status.sinks.map((s) => [
          s.name,
          s.kind,
          s.delivered,
          s.queued,
          s.dropped,
          s.failed,
          s.problem ?? '-',
        ]),
      ),
    );
  if (status.models.length > 0)
    parts.push(
      table(
        ['MODEL', 'VERSION', 'VARIANT', 'PLACEMENT', 'INFERENCES', 'ERRORS', 'P95_MS'],
        status.models.map((m) => [
          m.name,
          m.version,
          m.variant,
          m.placement,
          m.stats.inferences,
          m.stats.errors,
          Math.round(m.stats.p95LatencyUs) / 1000,
        ]),
      ),
      whyLines(status).join('\n'),
    );
  if (status.shadows.length > 0) parts.push(table(SHADOW_COLUMNS, status.shadows.map(shadowRow)));
  const busy = status.updates.filter((update) => update.phase !== 'idle');
  if (busy.length > 0)
    parts.push(
      table(
        ['UPDATE', 'PHASE', 'FROM', 'TO', 'WAITING'],
        busy.map((u) => [u.model, phaseText(u), u.committed ?? '-', u.ordered ?? '-', u.waiting ?? '-']),
      ),
    );
  const told = status.updates.flatMap(endingLine);
  if (told.length > 0) parts.push(told.join('\n'));
  if (status.incidents.length > 0)
    parts.push(
      table(
        ['INCIDENT', 'SEVERITY', 'SOURCE', 'DETAIL'],
        status.incidents.map((i) => [i.code, i.severity, i.source ?? '-', i.detail ?? '']),
      ),
    );
  return parts.join('\n\n');
}

const atRestText = (atRest: AgentStatus['atRest']): string => {
  if (!atRest) return 'on the disk the buffer and the models are in clear';
  const { encrypts, key } = atRest;
  return encrypts
    ? `on the disk the buffer and the models are encrypted; key from ${key}`
    : `on the disk the buffer and the models are brought back into clear; key from ${key}`;
};

const SHADOW_COLUMNS = ['CHALLENGER', 'OF', 'COMPARED', 'AGREED', 'SCORE_DIFF', 'P95_MS', 'SKIPPED'];
const shadowRow = (s: ShadowStatus): (string | number)[] => [
  `${s.challenger}@${s.challengerVersion ?? '-'}`,
  `${s.model}@${s.version ?? '-'}`,
  s.compared,
  s.compared > 0 ? `${((100 * s.agreed) / s.compared).toFixed(2)}%` : '-',
  s.meanScoreDifference.toPrecision(3),
  Math.round(s.challengerP95Us) / 1000,
  SKIPS.filter((skip) => s.skipped[skip] > 0)
    .map((skip) => `${skip} ${s.skipped[skip]}`)
    .join(', '),
];

/** A backend that compiles takes minutes: that is said instead of the phase. */
const phaseText = ({ phase, compiling }: AgentStatus['updates'][number]): string => {
  if (compiling === undefined) return phase;
  return compiling === null ? 'compiling' : `compiling ${Math.round(compiling * 100)}%`;
};

/** How the last order ended, when that is not what runs now. */
const endingLine = (update: AgentStatus['updates'][number]): string[] =>
  !update.last || update.last.outcome === 'committed' ? [] : [endingText(update)];

export function endingText({ model, last }: Pick<AgentStatus['updates'][number], 'model' | 'last'>): string {
  if (!last) return `${model} was never ordered`;
  const why = [last.reason, last.detail].filter((part) => part !== null).join(': ');
  return `${model}@${last.version} ended ${last.outcome}${why ? `: ${why}` : ''} (order ${last.order})`;
}

/** Why each model runs as that variant, with that provider, at that place, and who vouches for its bytes. */
const whyLines = ({ models, updates }: AgentStatus): string[] =>
  models.flatMap(({ name, proof, reason }) => {
    const chosen = updates.find(({ model }) => model === name)?.variant;
    const why = `${name} runs so because ${reason}; proof of its bytes: ${proof}`;
    return chosen ? [why, `${name} is variant ${chosen}`] : [why];
  });

const MARKS = { ok: 'ok', warning: 'WARNING', failed: 'FAILED' } as const;

export const findingsText = (findings: readonly Finding[]): string =>
  findings
    .map(({ check, result, detail, fix }) => {
      const line = `${MARKS[result].padEnd(8)} ${check.padEnd(16)} ${detail}`;
      return fix ? `${line}\n${' '.repeat(26)}→ ${fix}` : line;
    })
    .join('\n');

export const configText = (keys: readonly ConfigKey[]): string =>
  keys
    .map((key) => {
      const fallback = key.default === undefined ? '' : `, default ${JSON.stringify(key.default)}`;
      const variable = key.variable ? `\n    ${key.variable}` : '';
      return `${key.key} (${key.values}${fallback})\n    ${key.description}${variable}`;
    })
    .join('\n');

/** What `selftest` found. */
export function selftestText({ ok, arch, node, model, variants, stored }: SelftestOutcome): string {
  const header = ['VARIANT', 'PROVIDER', 'PASSED', 'OF', 'LARGEST_DIFFERENCE', 'TOLERANCE'];
  const rows = variants.map((v) => [
    v.id,
    v.provider,
    v.passed,
    v.total,
    Number(v.largestDifference.toPrecision(3)),
    Number(v.tolerance.toPrecision(3)),
  ]);
  const kept = `${stored.accepted} predictions stored, sealed into ${stored.batchBytes} bytes`;
  return `${model} on ${arch}, Node ${node}: ${ok ? 'works' : 'FAILS'}\n\n${table(header, rows)}\n\n${kept}`;
}

/** The configured sources: what each reads from. */
export const sourcesText = (sources: readonly SourceOf[]): string =>
  table(
    ['SOURCE', 'KIND', 'MODEL', 'FROM', 'STALL_AFTER'],
    sources.map((s) => [s.name, s.kind, s.model, fromOf(s), formatUnit('duration', s.stallAfter)]),
  );

const fromOf = ({ command, kind, name, path, topic, url }: SourceOf): string => {
  const from = topic === undefined ? (url ?? path ?? command) : `${url} ${topic}`;
  const shown = from ?? (kind === 'http' ? `POST /v1/readings/${name}` : '-');
  return shown.length > 60 ? `${shown.slice(0, 59)}…` : shown;
};

const TALLY = ['SECONDS', 'READINGS', 'PER_SECOND', 'BAD', 'DROPPED', 'SIZE', 'P50_MS', 'P95_MS', 'LABEL'];

const tallyRow = (report: TallyReport): string[] => {
  const { latencyMs, size, prediction } = report;
  const counts = [report.seconds, report.readings, report.perSecond, report.bad, report.dropped].map(String);
  const spoken = size ? `${size.mean} ${size.of}` : '-';
  return [
    ...counts,
    spoken,
    latencyMs ? `${latencyMs.p50}` : '-',
    latencyMs ? `${latencyMs.p95}` : '-',
    prediction?.label ?? '-',
  ];
};

/** Rows that come one by one cannot wait for the widest. */
const live = (cells: readonly string[]): string =>
  cells
    .map((cell, i) => cell.padEnd(Math.max(TALLY[i]!.length, i === 5 ? 14 : 8)))
    .join('  ')
    .trimEnd();

export const tallyHeader = (): string => live(TALLY);
export const tallyLine = (report: TallyReport): string => live(tallyRow(report));

/** What `source test` found, when it is over. */
export function sourceTestText(report: SourceTestReport): string {
  const { source, kind, readings, latest, prediction, problem, reason, fix } = report;
  const lines = [`${source} (${kind}): ${readings > 0 ? 'delivers' : `NO READING: ${reason}`}`];
  if (latest?.picture) lines.push(`latest: ${latest.picture}`);
  if (latest?.values)
    lines.push(
      `latest: ${Object.entries(latest.values)
        .map(([k, v]) => `${k}=${v}`)
        .join(' ')}`,
    );
  if (prediction)
    lines.push(
      `prediction: ${prediction.label}, score ${prediction.score}${prediction.alarm ? ', ALARM' : ''}`,
    );
  if (problem && !reason) lines.push(`went wrong: ${problem.message}`);
  if (fix) lines.push(`  → ${fix}`);
  return lines.join('\n');
}
