import { defineConfig } from 'vitest/config';

/** Tiers are projects, so `vitest --project unit` runs one and `npm test` names what it runs. */
const tier = (name: string, include: string[], testTimeout: number, isolate = true) => ({
  test: { name, include, testTimeout, hookTimeout: testTimeout, pool: 'forks' as const, isolate },
});

/**
 * Many small files share a process: a new one for each, with everything imported anew, was a third of their time. What one
 * leaves behind, another would meet.
 */
const small = (name: string, include: string[], testTimeout: number) =>
  tier(name, include, testTimeout, false);

export default defineConfig({
  test: {
    projects: [
      small('unit', ['test/{protocol,agent,fleet-server,scripts,walls}/**/*.test.ts'], 20_000),
      small('contract', ['test/contracts/**/*.test.ts'], 30_000),
      small('sim', ['test/sim/**/*.test.ts'], 120_000),
      tier('flow', ['test/flows/**/!(stress-score).test.ts'], 180_000),
      // What it measures is this machine's own load.
      tier('alone', ['test/flows/stress-score.test.ts'], 180_000),
      tier('browser', ['test/browser/**/*.test.ts'], 120_000),
      tier('package', ['test/package/**/*.test.ts'], 600_000),
    ],
  },
});
