/** Debian's chromium with an empty profile, watched: what it complains about and which hosts it asks. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';

export const CHROMIUM = '/usr/bin/chromium';
export const whyNoBrowser = existsSync(CHROMIUM)
  ? undefined
  : `${CHROMIUM} is missing: apt-get install chromium`;

const ARTIFACTS = join(import.meta.dirname, '..', 'artifacts', 'browser');

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface Watched {
  page: Page;
  context: BrowserContext;
  /** Console errors and warnings, exceptions, and failed or blocked requests, since the last call; then forgotten. */
  complaints(): string[];
  /** Every host that was asked for anything. */
  hosts: Set<string>;
  picture(name: string): Promise<void>;
  close(): Promise<void>;
}

export async function openBrowser(colorScheme: 'light' | 'dark' = 'light'): Promise<Watched> {
  const profile = mkdtempSync(join(tmpdir(), 'skein-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: ARGUMENTS,
    viewport: { width: 1280, height: 900 },
    colorScheme,
  });
  const page = context.pages()[0] ?? (await context.newPage());
  const complaints: string[] = [];
  const hosts = new Set<string>();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  page.on('request', (request) => hosts.add(new URL(request.url()).host));
  mkdirSync(ARTIFACTS, { recursive: true });
  return {
    page,
    context,
    complaints: () => complaints.splice(0),
    hosts,
    picture: async (name) => {
      await page.screenshot({ path: join(ARTIFACTS, `${name}.png`) });
    },
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
