/** The page in a real browser against a real server and a real agent: nothing here is faked. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stopDaemon } from '../../scripts/processes.ts';
import { whyNoBrowser } from './browser.ts';
import { faintText } from './contrast.ts';
import { BACKDROP, DRAWN_PIXELS, FOCUSED, openStage, SIDEWAYS, type Stage, until } from './stage.ts';

const DASHBOARD = join(import.meta.dirname, '..', '..', 'fleet-server', 'dashboard');
const SCREENSHOT = join(DASHBOARD, 'screenshot.png');
/** All scripts and styles, compressed: a slow link loads the page in about two seconds. */
const MAX_GZIP_BYTES = 64_000;
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 900 };
const STORED = 'td[data-label=Predictions]';

if (whyNoBrowser) console.warn(`browser tier skipped: ${whyNoBrowser}`);
const title = whyNoBrowser
  ? `the dashboard in a browser (skipped: ${whyNoBrowser})`
  : 'the dashboard in a browser';

describe.skipIf(whyNoBrowser)(title, () => {
  let stage: Stage;
  let device: string;

  const pages = (): [hash: string, heading: string | RegExp, name: string][] => [
    ['#/', 'Fleet', 'fleet'],
    [`#/devices/${device}`, /./, 'device'],
    ['#/models', 'Models', 'models'],
    ['#/rollouts', 'Rollouts', 'rollouts'],
    ['#/rollouts/new', 'New rollout', 'new-rollout'],
    ['#/drift', 'Drift', 'drift'],
    [`#/drift/${device}`, 'Drift', 'drift-device'],
  ];
  const newestRollout = async () => (await stage.stack.api.call('listRollouts')).items[0]!;

  beforeAll(async () => {
    stage = await openStage();
  });
  afterAll(() => stage?.close());
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error('the browser said:', stage?.complaints());
  });

  it('tells a stranger how to get in', async () => {
    await stage.go('', 'You are signed out');
    expect(await stage.page.getByText('npx skein login').isVisible()).toBe(true);
    // A browser prints each failed answer; these are the ones that were meant.
    for (const complaint of stage.complaints()) expect(complaint).toContain('401');
  });

  it('trades the one-time link for a session and shows the device live', async () => {
    const { page } = stage;
    await page.goto(stage.link);
    await page.getByRole('heading', { level: 1, name: 'Fleet' }).waitFor();
    expect(page.url()).toBe(`${stage.origin}/#/`);
    const row = page.locator('tbody tr').first();
    await row.getByText('online').waitFor({ state: 'attached', timeout: 60_000 });
    // A number, not the dash that stands for no reading.
    await row.locator('td[data-label=Score] b', { hasText: /^\d/ }).waitFor({ timeout: 60_000 });
    await row.locator('td[data-label=Score] svg').waitFor();
    device = (await row.locator('a').getAttribute('href'))!.split('/').at(-1)!;
    await stage.settled();
    await stage.picture('fleet-light');
  });

  it('counts predictions up without a reload, as many as the server holds', async () => {
    const before = await stage.number(STORED);
    await until(
      () => stage.number(STORED),
      (count) => count > before + 2,
    );
    const shown = await stage.number(STORED);
    const { predictions } = await stage.stack.api.call('showDevice', { params: { id: device } });
    expect(predictions).toBeGreaterThanOrEqual(shown);
  });

  it('draws the device: its score with the alarm line, health, ledger and proven model', async () => {
    const { page } = stage;
    await stage.go(`#/devices/${device}`, /./);
    await page.getByText(/^alarm above/).waitFor();
    await until(
      () => page.evaluate<number>(DRAWN_PIXELS),
      (drawn) => drawn > 500,
    );
    await page.locator('section[aria-label=Processor]').waitFor({ timeout: 60_000 });
    expect(await stage.number('tr:has-text("predictions") td.number')).toBeGreaterThan(0);
    await page.getByText('proven', { exact: true }).waitFor({ timeout: 60_000 });
    expect(await page.locator('code[title]').first().getAttribute('title')).toMatch(/^[0-9a-f]{64}$/);
    await stage.picture('device-light');
  });

  it('shows models, rollouts with their reason, and drift with its verdict', async () => {
    const { page } = stage;
    await stage.go('#/models', 'Models');
    await page
      .getByRole('row', { name: /1\.0\.0/ })
      .getByRole('link', { name: 'Roll out' })
      .waitFor();
    await stage.picture('models-light');
    await stage.go('#/rollouts', 'Rollouts');
    await page.locator(`a[href="#/rollouts/${(await newestRollout()).id}"]`).click();
    await page.getByRole('heading', { name: 'Progress' }).waitFor();
    await page.getByText('Stage 1 · 100%').waitFor();
    const why = (await page.locator('p[aria-live]').innerText()).trim();
    expect(why).toMatch(/^(stage 1 of 1|done)/);
    await stage.picture('rollout-light');
    await stage.go('#/drift', 'Drift');
    await page
      .getByText(/not enough data|calm|drift/i)
      .first()
      .waitFor();
    await stage.picture('drift-light');
  });

  it('refuses a wrong form with words and starts a rollout with a right one', async () => {
    const { page } = stage;
    // Only one rollout of a model may be under way for a device.
    await until(
      async () => (await newestRollout()).state,
      (state) => state === 'done',
    );
    await stage.go('#/rollouts/new', 'New rollout');
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
    expect((await newestRollout()).state).toBe('paused');
    await page.getByRole('button', { name: 'Abort' }).click();
    await stage.picture('rollout-confirm');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    expect((await newestRollout()).state).toBe('paused');
  });

  it('renames and regroups a device', async () => {
    const { page } = stage;
    await stage.go(`#/devices/${device}`, /./);
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByLabel('Name', { exact: true }).fill('workbench');
    await page.getByLabel('Groups', { exact: true }).fill('home, No Such');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('alert').waitFor();
    await page.getByLabel('Groups', { exact: true }).fill('home bench');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('heading', { level: 1, name: 'workbench' }).waitFor();
    const { name, groups } = await stage.stack.api.call('showDevice', { params: { id: device } });
    expect([name, groups]).toEqual(['workbench', ['home', 'bench']]);
    for (const complaint of stage.complaints()) expect(complaint).toContain('400');
  });

  it('fits a phone: no page scrolls sideways', async () => {
    await stage.page.setViewportSize(PHONE);
    for (const [hash, heading, name] of pages()) {
      await stage.go(hash, heading);
      await stage.settled();
      expect(await stage.page.evaluate<number>(SIDEWAYS), hash).toBe(0);
      await stage.picture(`phone-${name}`);
    }
    await stage.page.setViewportSize(DESK);
  });

  it('is readable in the light and in the dark', async () => {
    for (const colorScheme of ['dark', 'light'] as const) {
      await stage.page.emulateMedia({ colorScheme });
      for (const [hash, heading, name] of pages()) {
        await stage.go(hash, heading);
        await stage.settled();
        expect(await faintText(stage.page), `${hash} ${colorScheme}`).toEqual([]);
        if (colorScheme === 'dark') await stage.picture(`dark-${name}`);
      }
    }
  });

  it('follows the system’s theme and remembers a chosen one', async () => {
    const { page } = stage;
    const backdrop = () => page.evaluate<string>(BACKDROP);
    await page.emulateMedia({ colorScheme: 'dark' });
    const dark = await backdrop();
    await page.emulateMedia({ colorScheme: 'light' });
    const light = await backdrop();
    expect(light).not.toBe(dark);
    await page.getByRole('button', { name: /^Theme: system/ }).click();
    await page.getByRole('button', { name: /^Theme: light/ }).click();
    expect(await backdrop()).toBe(dark);
    await page.reload();
    await page.getByRole('button', { name: /^Theme: dark/ }).click();
    expect(await backdrop()).toBe(light);
  });

  it('works from the keyboard', async () => {
    const { page } = stage;
    const focused = () => page.evaluate<string>(FOCUSED);
    await stage.go('#/', 'Fleet');
    await page.reload();
    const tile = page.locator('.tile').first();
    await tile.waitFor();
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('Skip to content');
    await page.keyboard.press('Enter');
    expect(await focused()).toBe('content');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await tile.getAttribute('aria-pressed')).toBe('true');
    await page.getByRole('link', { name: 'Models' }).press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Models' }).waitFor();
    expect(await focused()).toBe('Models');
  });

  it('is small', () => {
    const assets = join(DASHBOARD, 'dist', 'assets');
    const sizes = readdirSync(assets).map((name) => gzipSync(readFileSync(join(assets, name))).length);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(MAX_GZIP_BYTES);
  });

  it.runIf(process.env.SKEIN_SCREENSHOT === '1')('makes the picture for the README', async () => {
    const { page } = stage;
    await page.setViewportSize({ width: 1200, height: 860 });
    await stage.go('#/', 'Fleet');
    // Long enough for curves that say something.
    await until(
      () => stage.number(STORED),
      (count) => count > 90,
    );
    await stage.go(`#/devices/${device}`, 'workbench');
    await stage.settled();
    await until(
      () => page.evaluate<number>(DRAWN_PIXELS),
      (drawn) => drawn > 500,
    );
    await page.waitForTimeout(1500);
    await page.screenshot({ path: SCREENSHOT });
    expect(statSync(SCREENSHOT).size).toBeLessThan(200_000);
    await page.setViewportSize(DESK);
  });

  it('asked no other host and has nothing to complain about', () => {
    expect([...stage.hosts]).toEqual([new URL(stage.origin).host]);
    expect(stage.complaints()).toEqual([]);
  });

  it('says that the connection is lost, and is live again when the server is back', async () => {
    const { page, stack } = stage;
    await stage.go('#/', 'Fleet');
    await page.getByText('Live', { exact: true }).waitFor();
    await stopDaemon(stack.server);
    await page.getByText('Connection to the server lost.').waitFor();
    await stage.picture('lost');
    const before = await stage.number(STORED);
    await stack.restartServer();
    await page.getByText('Live', { exact: true }).waitFor();
    await until(
      () => stage.number(STORED),
      (count) => count > before,
    );
    for (const complaint of stage.complaints()) expect(complaint).toMatch(/ERR_|Failed to load/);
  });

  it('refuses a used link, and shows a stranger nothing once the session is gone', async () => {
    const { page, context } = stage;
    await stage.go(new URL(stage.link).hash, 'This link does not work');
    await context.clearCookies();
    await page.goto(`${stage.origin}/#/models`);
    await page.reload();
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
    expect(await page.locator('table').count()).toBe(0);
  });
});
