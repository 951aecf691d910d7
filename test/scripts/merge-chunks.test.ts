import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mergeChunks } from '../../scripts/release/merge-chunks.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-merge-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Two parts that `main` starts one after the other, and two that are asked for later and share modules with them. */
const SOURCES: Record<string, string> = {
  'main.ts': `import { order } from './order.ts';
    import { Fault } from './fault.ts';
    import { word } from './left.ts';
    order.push('main ' + word);
    import('./run.ts').then(({ run }) => run()).then(async () => {
      const { ask } = await import('./command.ts');
      try { ask(); } catch (error) { order.push(String(error instanceof Fault)); }
      console.log(order.join(', '));
    });`,
  'order.ts': 'export const order: string[] = [];',
  'fault.ts': 'export class Fault extends Error {}',
  'left.ts': "import { order } from './order.ts'; order.push('left'); export const word = 'left';",
  'right.ts': "import { order } from './order.ts'; order.push('right'); export const word = 'right';",
  'engine.ts': `import { order } from './order.ts';
    import { word } from './right.ts';
    order.push('engine ' + word); export const start = () => order.push('started');`,
  'run.ts': `import { order } from './order.ts';
    import { start } from './engine.ts';
    export async function run() { start(); (await import('./later.ts')).later(); order.push('ran'); }`,
  'later.ts': `import { order } from './order.ts';
    import { word } from './right.ts';
    export const later = () => order.push('later ' + word);`,
  'command.ts': `import { Fault } from './fault.ts';
    import { start } from './engine.ts';
    import { word } from './left.ts';
    export const ask = () => { start(); throw new Fault(word); };`,
};

const OPTIONS = {
  format: 'esm',
  platform: 'node',
  target: 'node24',
  logLevel: 'silent',
  outExtension: { '.js': '.cjs' },
} as const;
const AS_SCRIPTS = { ...OPTIONS, format: 'cjs', supported: { 'dynamic-import': false } } as const;

async function bundled(folder: string) {
  for (const [path, text] of Object.entries(SOURCES)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const { metafile } = await build({
    ...OPTIONS,
    absWorkingDir: root,
    entryPoints: ['main.ts'],
    outdir: folder,
    bundle: true,
    splitting: true,
    metafile: true,
  });
  return metafile;
}

const run = (folder: string): string =>
  execFileSync(process.execPath, [join(folder, 'main.cjs')], { encoding: 'utf8' }).trim();

/** Files that `file` and those it imports make Node read before anything of them runs. */
function readFor(folder: string, file: string, read = new Set<string>()): Set<string> {
  if (read.has(file)) return read;
  read.add(file);
  const text = readFileSync(join(folder, file), 'utf8');
  const atOnce = text.replaceAll(/then\(\(\) => [^;]*?require\("[^"]*"\)/g, '');
  for (const [, name] of atOnce.matchAll(/\brequire\("\.\/([^"]+)"\)/g)) readFor(folder, name!, read);
  return read;
}

describe('files that are loaded together', () => {
  const ENTRIES = [{ source: 'main.ts', whole: 'core.cjs' }, { source: 'run.ts' }];

  it('become one for each step of a start, and what runs, when, and on which state stays the same', async () => {
    const folder = join(root, 'out');
    const metafile = await bundled(folder);
    const order = 'left, main left, right, engine right, started, later right, ran, started, true';
    const filesBefore = readdirSync(folder).length;
    await mergeChunks(folder, metafile, ENTRIES, AS_SCRIPTS);
    expect(run(folder)).toBe(order);
    expect(readdirSync(folder).length).toBeLessThan(filesBefore);
    expect([...readFor(folder, 'main.cjs')]).toEqual(['main.cjs', 'core.cjs']);
    const runFile = readdirSync(folder).find((name) => name.startsWith('run-'))!;
    expect([...readFor(folder, runFile)]).toEqual([runFile, 'core.cjs']);
  });

  it('are refused when a start has lost one of its steps', async () => {
    const metafile = await bundled(join(root, 'out'));
    await expect(
      mergeChunks(join(root, 'out'), metafile, [{ source: 'walk.ts' }], AS_SCRIPTS),
    ).rejects.toMatchObject({ code: 'INTERNAL', message: 'no file of the bundle begins with walk.ts' });
  });
});
