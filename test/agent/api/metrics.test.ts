import { spawnSync } from 'node:child_process';
import { renderMetrics } from '@skein/agent/api/metrics.ts';
import type { AgentStatus } from '@skein/agent/api/status.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isOnPath } from '../../../scripts/apt-tools.ts';
import { parseExposition, type Sample } from './exposition.ts';
import { type Served, serveModels } from './served-models.ts';

/** What people can name: every kind of character that a label must escape. */
const ODD = 'a "quoted" \\ back\nnew line, {brace} ü';

const status = (change: Partial<AgentStatus> = {}): AgentStatus => ({
  ...{
    device: ODD,
    fleet: 'home',
    agentVersion: '0.1.0',
    boot: 'b',
    ts: 1,
    uptimeMs: 61_000,
    profile: 'lan',
    lossWindowMs: 10_000,
    atRest: null,
  },
  ...{
    connected: true,
    sources: [],
    sinks: [],
    models: [],
    updates: [],
    trust: null,
    ledger: [],
    shadows: [],
  },
  pipelines: [],
  incidents: [],
  health: { cpu: 0.25, odd: Number.POSITIVE_INFINITY },
  ...change,
});

let served: Served;
beforeAll(async () => {
  served = await serveModels(['simple', 'slow'], { queueLimit: 1 });
});
afterAll(() => served.close());

const modelsOf = (): AgentStatus['models'] =>
  served.models.all().map(({ manifest }) => ({
    ...{ name: manifest.name, version: manifest.version, sha256: 'a', variant: 'fp32', placement: 'worker' },
    ...{ provider: 'cpu', proof: 'runtime', reason: '' },
    stats: served.engine.stats(manifest.name),
    selfCheck: null,
  }));
const rendered = (): string => renderMetrics(status({ models: modelsOf() }), served.models.statistics);
const figure = (samples: Sample[], name: string, model: string): number =>
  samples.find((sample) => sample.name === name && sample.labels.model === model)!.value;

describe('metrics', () => {
  it('give Triton’s counts and microseconds of what the engine did', async () => {
    const data = new Float32Array(8 * 512);
    const inputs = { x: { type: 'float32', dims: [8, 512], data } } as const;
    const calls = Array.from({ length: 4 }, () => served.models.predict('slow', inputs));
    const pending = parseExposition(rendered());
    expect(figure(pending, 'nv_inference_pending_request_count', 'slow')).toBe(1);
    const answered = (await Promise.allSettled(calls)).filter((call) => call.status === 'fulfilled').length;
    const samples = parseExposition(rendered());
    const of = (name: string) => figure(samples, `nv_inference_${name}`, 'slow');
    expect(of('request_success')).toBe(answered);
    expect(of('request_failure')).toBe(4 - answered);
    expect(of('request_failure')).toBeGreaterThan(0);
    expect(of('count')).toBe(8 * answered);
    expect(of('exec_count')).toBeGreaterThan(0);
    const parts = ['queue', 'compute_input', 'compute_infer', 'compute_output'];
    const sum = parts.reduce((total, part) => total + of(`${part}_duration_us`), 0);
    expect(of('compute_infer_duration_us')).toBeGreaterThan(0);
    expect(of('request_duration_us')).toBeGreaterThanOrEqual(sum - 4 * answered);
    expect(of('pending_request_count')).toBe(0);
    expect(figure(samples, 'nv_inference_request_success', 'simple')).toBe(0);
  });

  it('are text that a scrape takes, whatever people name their things', () => {
    const samples = parseExposition(rendered());
    expect(samples.find(({ name }) => name === 'skein_agent_info')!.labels.device).toBe(ODD);
    expect(samples.find(({ labels }) => labels.metric === 'odd')!.value).toBe(Number.POSITIVE_INFINITY);
    expect(samples.every(({ name }) => /^(nv_inference|skein)_/.test(name))).toBe(true);
  });

  it('leave out what there is nothing of', () => {
    const text = renderMetrics(status(), () => undefined);
    expect(text).not.toContain('nv_inference');
    expect(parseExposition(text).length).toBeGreaterThan(3);
  });

  it.runIf(isOnPath('promtool'))('pass promtool, which only dislikes Triton’s own names', () => {
    const {
      stdout,
      stderr,
      status: code,
    } = spawnSync('promtool', ['check', 'metrics'], { input: rendered() });
    const said = `${stdout}${stderr}`.trim().split('\n');
    expect(said.filter((line) => line !== '' && !line.startsWith('nv_inference_'))).toEqual([]);
    // 3: parsed, and a name is not to its taste; 1 is a syntax error.
    expect([0, 3]).toContain(code);
  });
});

describe('the reader of the text format', () => {
  it.each([
    ['# HELP a b\n# TYPE a gauge\na 1', 'no end'],
    ['a 1\n', 'HELP and TYPE'],
    ['# HELP a b\n# TYPE a gauge\na{x="y"} one\n', 'no number'],
    ['# HELP a b\n# TYPE a gauge\na{x="y\\q"} 1\n', 'labels'],
    ['# HELP a b\n# TYPE a gauge\na{x="1",x="2"} 1\n', 'twice'],
    ['# HELP a b\n# TYPE a gauge\na 1\na 2\n', 'a series twice'],
    ['# HELP a b\n# TYPE a gauge\na 1\n# HELP b b\n# TYPE b gauge\nb 1\n# HELP a b\na 3\n', 'two places'],
    ['# HELP a b\n# TYPE a thing\na 1\n', 'no type'],
    ['# HELP a b\n# TYPE a gauge\na Infinity\n', 'no number'],
  ])('refuses %j', (text, what) => {
    expect(() => parseExposition(text)).toThrow(what);
  });
});
