import { describe, expect, it } from 'vitest';
import { ago, bytes, duration, figure, share } from '../../../fleet-server/dashboard/src/data/format.ts';
import { isHealthMetric, metricOf } from '../../../fleet-server/dashboard/src/data/metric.ts';
import { hrefTo, parseRoute, type Route } from '../../../fleet-server/dashboard/src/routes.ts';

describe('figures for people', () => {
  it('gives durations by their two largest units', () => {
    expect([0, 999, 1000, 90_000, 3_600_000, 90_061_000].map(duration)).toEqual([
      '0 ms',
      '999 ms',
      '1 s',
      '1 min 30 s',
      '1 h',
      '1 d 1 h',
    ]);
  });

  it('says how long ago, and takes clocks that differ a little as now', () => {
    expect([0, 3000, -3000, 65_000, -600_000].map((passed) => ago(1e12, 1e12 + passed))).toEqual([
      'now',
      '3 s ago',
      'now',
      '1 min ago',
      'in 10 min',
    ]);
  });

  it('keeps three digits, and small shares readable', () => {
    expect([0, 0.12345, 1234.6, 0.000012, Number.NaN].map(figure)).toEqual([
      '0',
      '0.123',
      '1,235',
      '1.2e-5',
      '–',
    ]);
    expect([0, 0.005, 0.5, 1].map(share)).toEqual(['0 %', '0.5 %', '50 %', '100 %']);
    expect([0, 999, 48_211, 8.2e9].map(bytes)).toEqual(['0 B', '999 B', '48.2 kB', '8.2 GB']);
  });
});

describe('health metrics', () => {
  it('gives the agent’s metrics their titles and units', () => {
    const shown = {
      cpu: 0.25,
      mem_available: 0.5,
      temp_c: 51.26,
      rss_mb: 112,
      power_w: 4.5,
      loop_p99_ms: 1.25,
    };
    expect(Object.entries(shown).map(([name, value]) => metricOf(name).format(value))).toEqual([
      '25 %',
      '50 %',
      '51.3 °C',
      '112 MB',
      '4.5 W',
      '1.25 ms',
    ]);
    expect(metricOf('rss_mb').title).toBe('Agent memory');
  });

  it('shows a metric that nobody has described, and keeps predictions out', () => {
    expect(metricOf('soil_moisture')).toMatchObject({ title: 'Soil moisture' });
    expect(['cpu', 'score', 'ts', 'latency_ms', 'soil_moisture'].filter(isHealthMetric)).toEqual([
      'cpu',
      'soil_moisture',
    ]);
  });
});

describe('addresses', () => {
  const routes: Route[] = [
    { page: 'fleet' },
    { page: 'device', id: 'd-1 /ä' },
    { page: 'models' },
    { page: 'rollouts' },
    { page: 'new-rollout' },
    { page: 'new-rollout', model: 'host', version: '1.0.0' },
    { page: 'rollout', id: 'r-1' },
    { page: 'drift' },
    { page: 'drift', device: 'd-1' },
    { page: 'login', secret: 'a.b' },
  ];

  it('go both ways', () => {
    for (const route of routes) expect(parseRoute(hrefTo(route))).toEqual(route);
  });

  it('that are mistyped lead to a page that says so', () => {
    expect(parseRoute('')).toEqual({ page: 'fleet' });
    expect(parseRoute('#/nowhere').page).toBe('unknown');
    expect(parseRoute('#/devices/%E0%A4%A')).toEqual({ page: 'device', id: '%E0%A4%A' });
  });
});
