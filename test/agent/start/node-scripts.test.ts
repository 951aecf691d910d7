import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const MODULE = join(import.meta.dirname, '../../../agent/src/start/node-scripts.ts');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-scripts-'));
  for (const folder of ['app', 'kept']) mkdirSync(join(root, folder));
  place({
    'main.cjs': `const { twice } = require('./part.cjs'); const { join } = require('node:path');
      exports.said = twice(join('a', 'b')) + ' ' + (this === undefined) + ' ' + __url.slice(0, 8);`,
    'part.cjs': 'exports.twice = (text) => { function late(t) { return t + t; } return late(text); };',
  });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const place = (files: Record<string, string>) => {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'app', name), text);
};
const kept = (name: string) => join(root, 'kept', name);

/** In a process of its own, because V8 keeps what one has compiled. @returns what it said, a line each */
function start(work: string, flags: string[] = []): string[] {
  const program = `import { createRequire } from 'node:module';
    const { Scripts } = await import(${JSON.stringify(MODULE)});
    const scripts = new Scripts('${root}/app', '${root}/kept', createRequire(import.meta.filename));
    ${work}`;
  const file = join(root, 'program.mjs');
  writeFileSync(file, program);
  const { stdout, stderr, status } = spawnSync(process.execPath, [...flags, file], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH },
  });
  expect(status, stderr).toBe(0);
  return stdout.trim().split('\n');
}

/** Whether V8 compiled the function `late`, which nothing compiles before it is called. */
function compilesLate(): boolean {
  const log = join(root, 'v8.log');
  start(RUN, ['--log-function-events', '--no-logfile-per-isolate', `--logfile=${log}`]);
  return /^function,interpreter,.*,late$/m.test(readFileSync(log, 'utf8'));
}

/** A file is written again only when it was not taken. */
const writtenAs = (name: string) => statSync(kept(name)).ino;
const RUN = `console.log(scripts.load('main.cjs').said); scripts.keep();`;
const SAID = ['a/ba/b true file:///'];

describe('scripts', () => {
  it('run as strict CommonJS modules that know each other, Node’s own and where they are', () => {
    expect(start(RUN)).toEqual(SAID);
  });

  it('run once however often they are loaded, and again after they threw', () => {
    place({
      'bad.cjs': `globalThis.tries = (globalThis.tries ?? 0) + 1; if (globalThis.tries === 1) throw new Error('first'); exports.tries = globalThis.tries;`,
    });
    const said = start(`
      try { scripts.load('bad.cjs'); } catch (error) { console.log(error.message); }
      console.log(scripts.load('bad.cjs').tries + ' ' + (scripts.load('bad.cjs') === scripts.load('bad.cjs')));`);
    expect(said).toEqual(['first', '2 true']);
  });

  it('name the place in their own file when they throw', () => {
    place({ 'bad.cjs': `throw new Error('here')` });
    const said = start(
      `try { scripts.load('bad.cjs'); } catch (error) { console.log(error.stack.split('\\n')[1]); }`,
    );
    expect(said[0]).toContain(`${join(root, 'app', 'bad.cjs')}:1:7`);
  });
});

describe('what was compiled', () => {
  it('is kept with the functions that were called, and not compiled again', () => {
    expect(compilesLate()).toBe(true);
    expect(readdirSync(join(root, 'kept')).sort()).toEqual(['main.cjs', 'part.cjs']);
    expect(compilesLate()).toBe(false);
  });

  it('is written once: a start that took it leaves it as it is', () => {
    start(RUN);
    const before = writtenAs('part.cjs');
    start(`${RUN} scripts.load('part.cjs').twice('x'); scripts.keep();`);
    expect(writtenAs('part.cjs')).toBe(before);
  });

  it('is not taken for other code of the same length, and replaced', () => {
    start(RUN);
    const [main, part] = [writtenAs('main.cjs'), writtenAs('part.cjs')];
    place({
      'part.cjs': 'exports.twice = (text) => { function late(t) { return t + 1; } return late(text); };',
    });
    expect(start(RUN)).toEqual(['a/b1 true file:///']);
    expect(writtenAs('part.cjs')).not.toBe(part);
    expect(writtenAs('main.cjs')).toBe(main);
  });

  it.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length - 9)],
    ['empty', () => Buffer.alloc(0)],
    ['something else', () => Buffer.from('nothing that was ever compiled')],
    ['one bit of it changed', (bytes: Buffer) => Buffer.from(bytes).fill(bytes[200]! ^ 4, 200, 201)],
  ])('is not taken when it is damaged: %s', (_how, damage) => {
    start(RUN);
    writeFileSync(kept('part.cjs'), damage(readFileSync(kept('part.cjs'))));
    const damaged = writtenAs('part.cjs');
    expect(start(RUN)).toEqual(SAID);
    expect(writtenAs('part.cjs')).not.toBe(damaged);
  });

  it('of another version goes', () => {
    mkdirSync(kept('old-folder'));
    writeFileSync(kept('daemon-OLD.cjs'), 'x');
    start(RUN);
    expect(readdirSync(join(root, 'kept')).sort()).toEqual(['main.cjs', 'part.cjs']);
  });

  it('is left when there is no place for it, and nothing is lost by it', () => {
    rmSync(join(root, 'kept'), { recursive: true });
    writeFileSync(join(root, 'kept'), 'a file where the folder should be');
    expect(start(RUN)).toEqual(SAID);
  });
});
