/** What `status` and `buffer` show people: aligned columns, figures to the right. */
import type { AgentStatus } from '../api/status.ts';
import { readiness } from '../api/status.ts';
import type { ConfigKey } from '../config-keys.ts';
import type { Finding } from './doctor-check.ts';
import type { SelftestOutcome } from './selftest.ts';

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
    `${status.device} of fleet ${status.fleet}, ${status.connected ? 'connected' : 'not connected'}, ${ready ? 'ready' : 'not ready'}: ${reason}`,
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
    );
  const busy = status.updates.filter((update) => update.phase !== 'idle');
  if (busy.length > 0)
    parts.push(
      table(
        ['UPDATE', 'PHASE', 'FROM', 'TO'],
        busy.map((u) => [u.model, u.phase, u.committed ?? '-', u.ordered ?? '-']),
      ),
    );
  if (status.incidents.length > 0)
    parts.push(
      table(
        ['INCIDENT', 'SEVERITY', 'SOURCE', 'DETAIL'],
        status.incidents.map((i) => [i.code, i.severity, i.source ?? '-', i.detail ?? '']),
      ),
    );
  return parts.join('\n\n');
}

/** The ledger: stored + pending + dropped + lost at server + unknown = accepted. */
export function ledgerText(ledger: AgentStatus['ledger']): string {
  return table(
    ['STREAM', 'ACCEPTED', 'STORED', 'PENDING', 'DROPPED', 'LOST_AT_SERVER', 'UNKNOWN', 'PENDING_BYTES'],
    ledger.map((e) => [
      e.stream,
      e.accepted,
      e.stored,
      e.pending,
      e.dropped,
      e.lostAtServer,
      e.unknown,
      e.pendingBytes,
    ]),
  );
}

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
