/** One real server, one real agent and one real browser in a folder of their own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { buildDashboard } from '../../scripts/dashboard.ts';
import { type Stack, startStack } from '../../scripts/stack.ts';
import { openBrowser, type Watched } from './browser.ts';

export interface Stage extends Watched {
  stack: Stack;
  origin: string;
  /** The one-time login link. */
  link: string;
  /** Opens a route and waits for its heading. */
  go(hash: string, heading: string | RegExp): Promise<void>;
  /** No part of the page is still loading. */
  settled(): Promise<void>;
  /** The first match as a number. */
  number(selector: string): Promise<number>;
}

const FREE = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };

export async function openStage(): Promise<Stage> {
  await buildDashboard();
  const stateDir = mkdtempSync(join(tmpdir(), 'skein-dashboard-'));
  const forget = () => rmSync(stateDir, { recursive: true, force: true });
  const stack = await startStack({ stateDir, ports: FREE }).catch((error: unknown) => {
    forget();
    throw error;
  });
  const link = (await stack.api.call('loginLink', { body: {} })).url;
  const { origin } = new URL(link);
  const browser = await openBrowser();
  const { page } = browser;
  return {
    ...browser,
    stack,
    origin,
    link,
    async go(hash, heading) {
      await page.goto(`${origin}/${hash}`);
      await page.getByRole('heading', { level: 1, name: heading }).waitFor();
    },
    settled: async () => expect.poll(() => page.locator('.loading').count(), { timeout: 30_000 }).toBe(0),
    async number(selector) {
      return Number((await page.locator(selector).first().innerText()).replaceAll(',', ''));
    },
    async close() {
      await browser.close();
      await stack.stop();
      forget();
    },
  };
}

/** Asks again until it holds. Playwright's own waitForFunction evaluates strings, which the page's CSP forbids. */
export async function until<T>(ask: () => Promise<T>, holds: (value: T) => boolean): Promise<void> {
  await expect.poll(ask, { timeout: 60_000, interval: 200 }).toSatisfy(holds);
}

/** Evaluated in the page (a string: our checker knows no DOM): pixels of the first plot that are not empty. */
export const DRAWN_PIXELS = `(() => {
  const canvas = document.querySelector('.plot canvas');
  if (!canvas || !canvas.width) return 0;
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let drawn = 0;
  for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0 ? 1 : 0;
  return drawn;
})()`;

export const SIDEWAYS = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
export const BACKDROP = 'getComputedStyle(document.body).backgroundColor';
export const FOCUSED = 'document.activeElement.id || document.activeElement.innerText';
