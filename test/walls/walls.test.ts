import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  isAdapter,
  isPure,
  isShell,
  isTool,
  ROOT,
  readHouse,
  type SourceFile,
  TECHNOLOGIES,
} from './house.ts';

const house = readHouse();

/** One line a breach, so that the failure says what to move. */
const breaches = (find: (file: SourceFile) => string[]): string[] =>
  house.flatMap((file) => find(file).map((what) => `${file.path}: ${what}`));

const AMBIENT =
  /\b(Date\.now|Math\.random|setTimeout|setInterval|setImmediate|performance\.now|process\.(env|exit|on|cwd|hrtime)|crypto\.getRandomValues)\b|new Date\(\)/;

/** Comments may speak of what code may not do. */
const codeOf = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');

describe('the walls of the house', () => {
  it('knows rooms of every kind', () => {
    expect(house.filter((f) => isPure(f.path)).length).toBeGreaterThan(40);
    expect(house.filter((f) => isAdapter(f.path)).length).toBeGreaterThan(8);
    expect(house.filter((f) => isShell(f.path)).length).toBeGreaterThan(8);
  });

  it('lets agent and fleet-server depend on protocol and on nothing of each other', () => {
    const allowed = {
      protocol: ['protocol'],
      agent: ['agent', 'protocol'],
      'fleet-server': ['fleet-server', 'protocol'],
    };
    expect(
      breaches((file) =>
        file.imports
          .filter((i) => i.target && !allowed[file.workspace].includes(i.target.split('/')[0]!))
          .map((i) => `imports ${i.target}`),
      ),
    ).toEqual([]);
  });

  it('keeps node:* and packages with effects out of pure files', () => {
    const harmless = /^(typebox(\/.*)?|tweetnacl|@noble\/hashes\/.*|cborg(\/.*)?|fflate|protobufjs(\/.*)?)$/;
    expect(
      breaches((file) =>
        isPure(file.path)
          ? file.imports
              .filter((i) => !i.typeOnly && !i.target && !harmless.test(i.specifier))
              .map((i) => `imports ${i.specifier}`)
          : [],
      ),
    ).toEqual([]);
  });

  it('keeps clocks, timers, chance and the process out of pure files', () => {
    expect(
      breaches((file) => {
        if (!isPure(file.path)) return [];
        return codeOf(file.text)
          .split('\n')
          .filter((line) => AMBIENT.test(line))
          .map((line) => line.trim());
      }),
    ).toEqual([]);
  });

  it('lets only an adapter named after a technology import it', () => {
    expect(
      breaches((file) =>
        file.imports
          .filter((i) => !i.typeOnly)
          .flatMap((i) =>
            TECHNOLOGIES.filter(
              (t) =>
                t.imports.test(i.specifier) && !t.word.test(file.path.slice(file.path.lastIndexOf('/') + 1)),
            ).map(() => `imports ${i.specifier}`),
          ),
      ),
    ).toEqual([]);
  });

  it('lets pure files name no adapter and no shell', () => {
    expect(
      breaches((file) =>
        isPure(file.path)
          ? file.imports
              .filter(
                (i) =>
                  !i.typeOnly && i.target && (isAdapter(i.target) || isShell(i.target) || isTool(i.target)),
              )
              .map((i) => `imports ${i.target}`)
          : [],
      ),
    ).toEqual([]);
  });

  it('has no circles', () => {
    const edges = new Map(
      house.map((f) => [f.path, f.imports.filter((i) => i.target && !i.typeOnly).map((i) => i.target!)]),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: string[]): string[] => {
      if (trail.includes(path)) return [[...trail.slice(trail.indexOf(path)), path].join(' → ')];
      if (done.has(path)) return [];
      const found = (edges.get(path) ?? []).flatMap((next) => visit(next, [...trail, path]));
      done.add(path);
      return found;
    };
    expect([...edges.keys()].flatMap((path) => visit(path, []))).toEqual([]);
  });

  it('compiles protocol and every pure file with no Node types', () => {
    const files = house.filter((f) => isPure(f.path)).map((f) => join(ROOT, f.path));
    const config = join(ROOT, `tsconfig.walls-${process.pid}.json`);
    writeFileSync(
      config,
      JSON.stringify({
        extends: './tsconfig.json',
        compilerOptions: { types: [], lib: ['es2024', 'webworker'] },
        include: [],
        files,
      }),
    );
    try {
      execFileSync(join(ROOT, 'node_modules', '.bin', 'tsc'), ['--noEmit', '-p', config], {
        cwd: ROOT,
        stdio: 'pipe',
      });
    } catch (error) {
      expect.fail(String((error as { stdout: Buffer }).stdout));
    } finally {
      rmSync(config, { force: true });
    }
  }, 120_000);
});
