/** Builds the dashboard when its sources are newer than the last build. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const DASHBOARD = join(ROOT, 'fleet-server', 'dashboard');
const STAMP = join(DASHBOARD, 'dist', '.built-from');

function sources(): string[] {
  const under = (folder: string): string[] =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name));
  const own = under(DASHBOARD).filter((file) => !file.startsWith(join(DASHBOARD, 'dist')));
  return [...own, ...under(join(ROOT, 'protocol', 'src'))].filter((file) => statSync(file).isFile()).sort();
}

function fingerprint(): string {
  const hash = createHash('sha256');
  for (const file of sources()) hash.update(file.slice(ROOT.length)).update(readFileSync(file));
  return hash.digest('hex');
}

/** @returns whether a build was needed */
export async function buildDashboard(): Promise<boolean> {
  const wanted = fingerprint();
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted) return false;
  const { build } = await import('vite');
  await build({ root: DASHBOARD, configFile: join(DASHBOARD, 'vite.config.ts'), logLevel: 'warn' });
  writeFileSync(STAMP, wanted);
  return true;
}
