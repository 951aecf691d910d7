/** The page in a real browser against a real server and a real agent: nothing here is faked. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildDashboard } from '../../scripts/dashboard.ts';
import { stopDaemon } from '../../scripts/processes.ts';
import { type Stack, startStack } from '../../scripts/stack.ts';
import { openBrowser, type Watched, whyNoBrowser } from './browser.ts';
import { faintText } from './contrast.ts';

const SCREENSHOT = join(import.meta.dirname, '..', '..', 'fleet-server', 'dashboard', 'screenshot.png');
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 900 };

if (whyNoBrowser) console.warn(`browser tier skipped: ${whyNoBrowser}`);

describe.skipIf(whyNoBrowser)(
  `the dashboard in a browser${whyNoBrowser ? ` (skipped: ${whyNoBrowser})` : ''}`,
  () => {
    let stateDir: string;
    let stack: Stack;
    let browser: Watched;
    let origin: string;
    let link: string;
    let device: string;

    const go = async (hash: string, heading: string | RegExp): Promise<void> => {
      await browser.page.goto(`${origin}/${hash}`);
      await browser.page.getByRole('heading', { level: 1, name: heading }).waitFor();
    };
    const pages = (): [string, string | RegExp][] => [
      ['#/', 'Fleet'],
      [`#/devices/${device}`, /./],
      ['#/models', 'Models'],
      ['#/rollouts', 'Rollouts'],
      ['#/rollouts/new', 'New rollout'],
      ['#/drift', 'Drift'],
      [`#/drift/${device}`, 'Drift'],
    ];
    const settled = () => browser.page.locator('.loading').waitFor({ state: 'detached' });
    const number = async (selector: string): Promise<number> =>
      Number((await browser.page.locator(selector).first().innerText()).replaceAll(',', ''));

    beforeAll(async () => {
      await buildDashboard();
      stateDir = mkdtempSync(join(tmpdir(), 'skein-dashboard-'));
      stack = await startStack({ stateDir, ports: { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 } });
      link = (await stack.api.call('loginLink', { body: {} })).url;
      origin = new URL(link).origin;
      browser = await openBrowser();
    });

    afterAll(async () => {
      await browser?.close();
      await stack?.stop();
      if (stateDir) rmSync(stateDir, { recursive: true, force: true });
    });

    afterEach(({ task }) => {
      if (task.result?.state === 'fail') console.error('the browser said:', browser?.complaints());
    });

    it('tells a stranger how to get in', async () => {
      await go('', 'You are signed out');
      expect(await browser.page.getByText('npx skein login').isVisible()).toBe(true);
      // A browser prints each failed answer; these are the ones that were meant.
      for (const complaint of browser.complaints()) expect(complaint).toContain('401');
    });

    it('trades the one-time link for a session and shows the device live', async () => {
      const { page } = browser;
      await page.goto(link);
      await page.getByRole('heading', { level: 1, name: 'Fleet' }).waitFor();
      expect(page.url()).toBe(`${origin}/#/`);
      const row = page.locator('tbody tr').first();
      await row.getByText('online').waitFor({ state: 'attached', timeout: 60_000 });
      // A number, not the dash that stands for no reading.
      await row.locator('td[data-label=Score] b', { hasText: /^\d/ }).waitFor({ timeout: 60_000 });
      await row.locator('td[data-label=Score] svg').waitFor();
      device = (await row.locator('a').getAttribute('href'))!.split('/').at(-1)!;
      await settled();
      await browser.picture('fleet-light');
    });

    it('counts predictions up without a reload', async () => {
      const before = await number('td[data-label=Predictions]');
      await browser.page.waitForFunction(
        `Number(document.querySelector('td[data-label=Predictions]').innerText.replaceAll(',', '')) > ${before + 2}`,
      );
      const stored = (await stack.api.call('showDevice', { params: { id: device } })).predictions;
      expect(await number('td[data-label=Predictions]')).toBeLessThanOrEqual(stored + 5);
    });

    it('draws the device: its score with the alarm line, health, ledger and proven model', async () => {
      const { page } = browser;
      await go(`#/devices/${device}`, /./);
      await page.getByText(/^alarm above/).waitFor();
      // The plot is a canvas: something must have been drawn on it.
      await page.waitForFunction(`(() => {
      const canvas = document.querySelector('.plot canvas');
      if (!canvas || !canvas.width) return false;
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let drawn = 0;
      for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0 ? 1 : 0;
      return drawn > 500;
    })()`);
      await page.locator('section[aria-label=Processor]').waitFor({ timeout: 60_000 });
      const predictions = page.locator('tr', { hasText: 'predictions' });
      expect(
        Number((await predictions.locator('td').nth(1).innerText()).replaceAll(',', '')),
      ).toBeGreaterThan(0);
      await page.getByText('proven', { exact: true }).waitFor({ timeout: 60_000 });
      expect(await page.locator('code[title]').first().getAttribute('title')).toMatch(/^[0-9a-f]{64}$/);
      await browser.picture('device-light');
    });

    it('shows models, rollouts with their reason, and drift with its verdict', async () => {
      const { page } = browser;
      await go('#/models', 'Models');
      await page
        .getByRole('row', { name: /1\.0\.0/ })
        .getByRole('link', { name: 'Roll out' })
        .waitFor();
      await go('#/rollouts', 'Rollouts');
      const { id, why } = (await stack.api.call('listRollouts')).items[0]!;
      await page.locator(`a[href="#/rollouts/${id}"]`).click();
      await page.getByRole('heading', { name: 'Progress' }).waitFor();
      expect(why).not.toBe('');
      await page.getByText('Stage 1 · 100%').waitFor();
      await browser.picture('rollout-light');
      await go('#/drift', 'Drift');
      await page
        .getByText(/not enough data|calm|drift/i)
        .first()
        .waitFor();
      await browser.picture('drift-light');
    });

    it('refuses a wrong form with words and starts a rollout with a right one', async () => {
      const { page } = browser;
      await go('#/rollouts/new', 'New rollout');
      await page.getByLabel('Stages').fill('5, 3');
      await page.getByRole('button', { name: 'Start rollout' }).click();
      await page.getByText(/each must be larger/).waitFor();
      expect(await page.getByLabel('Stages').getAttribute('aria-invalid')).toBe('true');
      await page.getByLabel('Stages').fill('100%');
      await page.getByLabel('Soak').fill('1h');
      await page.getByRole('button', { name: 'Start rollout' }).click();
      await page.getByRole('heading', { name: 'Progress' }).waitFor();
      await page.getByRole('button', { name: 'Pause' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
      await page.getByRole('button', { name: 'Resume' }).waitFor();
      const { id } = (await stack.api.call('listRollouts')).items[0]!;
      expect((await stack.api.call('showRollout', { params: { id } })).state).toBe('paused');
      await page.getByRole('button', { name: 'Abort' }).click();
      await browser.picture('rollout-confirm');
      await page.keyboard.press('Escape');
      expect(await page.getByRole('dialog').count()).toBe(0);
      expect((await stack.api.call('showRollout', { params: { id } })).state).toBe('paused');
    });

    it('fits a phone: no page scrolls sideways', async () => {
      await browser.page.setViewportSize(PHONE);
      for (const [hash, heading] of pages()) {
        await go(hash, heading);
        await settled();
        const overflow = await browser.page.evaluate<number>(
          'document.documentElement.scrollWidth - document.documentElement.clientWidth',
        );
        expect(overflow, hash).toBe(0);
        await browser.picture(`phone-${hash.replaceAll(/\W+/g, '-').replaceAll(device, 'id')}`);
      }
      await browser.page.setViewportSize(DESK);
    });

    it('follows the system’s theme, remembers a chosen one, and is readable in both', async () => {
      const { page } = browser;
      const backdrop = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
      for (const colorScheme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme });
        for (const [hash, heading] of pages()) {
          await go(hash, heading);
          await settled();
          expect(await faintText(page), `${hash} ${colorScheme}`).toEqual([]);
          if (colorScheme === 'dark')
            await browser.picture(`dark-${hash.replaceAll(/\W+/g, '-').replaceAll(device, 'id')}`);
        }
      }
      const light = await backdrop();
      await page.getByRole('button', { name: /^Theme: system/ }).click();
      await page.getByRole('button', { name: /^Theme: light/ }).click();
      expect(await backdrop()).not.toBe(light);
      await page.reload();
      await page.getByRole('button', { name: /^Theme: dark/ }).click();
      expect(await backdrop()).toBe(light);
    });

    it('works from the keyboard', async () => {
      const { page } = browser;
      await go('#/', 'Fleet');
      const focused = () =>
        page.evaluate<string>('document.activeElement.id || document.activeElement.innerText');
      expect(await focused()).toBe('Fleet');
      await page.evaluate('document.activeElement.blur()');
      await page.keyboard.press('Tab');
      expect(await focused()).toBe('Skip to content');
      await page.keyboard.press('Enter');
      expect(await focused()).toBe('content');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      expect(await page.locator('.tile').first().getAttribute('aria-pressed')).toBe('true');
    });

    it('asked no other host and has nothing to complain about', () => {
      expect([...browser.hosts]).toEqual([new URL(origin).host]);
      expect(browser.complaints()).toEqual([]);
    });

    it('says that the connection is lost, and is live again when the server is back', async () => {
      const { page } = browser;
      await go('#/', 'Fleet');
      await page.getByText('Live', { exact: true }).waitFor();
      await stopDaemon(stack.server);
      await page.getByText('Connection to the server lost.').waitFor();
      await browser.picture('lost');
      const before = await number('td[data-label=Predictions]');
      await stack.restartServer();
      await page.getByText('Live', { exact: true }).waitFor();
      await page.waitForFunction(
        `Number(document.querySelector('td[data-label=Predictions]').innerText.replaceAll(',', '')) > ${before}`,
      );
      for (const complaint of browser.complaints()) expect(complaint).toMatch(/ERR_|Failed to load/);
    });

    it('refuses a used link, and shows a stranger nothing once the session is gone', async () => {
      const { page, context } = browser;
      await page.goto(link);
      await page.getByRole('heading', { name: 'This link does not work' }).waitFor();
      await context.clearCookies();
      await page.goto(`${origin}/#/models`);
      await page.reload();
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
      expect(await page.locator('table').count()).toBe(0);
    });

    it.runIf(process.env.SKEIN_SCREENSHOT === '1')('makes the picture for the README', async () => {
      const { page } = browser;
      await page.goto((await stack.api.call('loginLink', { body: {} })).url);
      await page.getByRole('heading', { level: 1, name: 'Fleet' }).waitFor();
      await go(`#/devices/${device}`, /./);
      await page.locator('section[aria-label=Processor] canvas').waitFor();
      await page.setViewportSize({ width: 1200, height: 860 });
      await page.evaluate('document.activeElement.blur()');
      await page.waitForFunction(`document.querySelectorAll('.plot canvas').length > 3`);
      await page.screenshot({ path: SCREENSHOT });
      expect(statSync(SCREENSHOT).size).toBeLessThan(200_000);
    });
  },
);
