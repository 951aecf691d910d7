/**
 * The daemon's own code in its package: scripts, with what V8 compiled of them at an earlier start.
 *
 * Node keeps compiled code too, but of a module as it was before anything of it ran, and V8 compiles most functions when
 * they are first called: each start would compile more than a thousand of them again. Here a script is kept after the
 * start that compiled it, with every function which that start called.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import { crc32 } from 'node:zlib';
import type { Bytes } from '@skein/protocol/units.ts';
import { type KeptCode, keptCode } from './node-kept.ts';

type Require = (name: string) => unknown;
type Run = (
  exports: object,
  require: Require,
  module: { exports: object },
  dirname: string,
  url: string,
) => void;

interface Compiled {
  script: Script;
  /** CRC-32 of the source. */
  crc: number;
}

interface Loaded {
  module: { exports: object };
  /** Absent when it was taken from what was kept. */
  fresh?: Compiled;
}

/** Strict, as the modules that they were. */
const OPENING = '(function(exports,require,module,__dirname,__url){"use strict";';
const CLOSING = '\n})';
/** Of our own; whatever else is required is Node's business. */
const OURS = /^\.\/[\w-]+\.cjs$/;
/** The largest script, or what was compiled of it. */
const SCRATCH_BYTES: Bytes = 1 << 20;

export class Scripts {
  readonly #folder: string;
  readonly #kept: KeptCode | undefined;
  readonly #require: Require;
  readonly #loaded = new Map<string, Loaded>();
  #scratch = Buffer.alloc(0);

  /**
   * @param folder of the scripts, each a CommonJS module
   * @param kept folder for what V8 compiled; undefined: it is not kept
   * @param require for what is not one of them
   */
  constructor(folder: string, kept: string | undefined, require: Require) {
    this.#folder = folder;
    this.#kept = kept === undefined ? undefined : keptCode(kept, (file) => this.#read(file));
    this.#require = require;
  }

  /** As `require` does it, for `./NAME.cjs`. @throws what the script throws; the next call runs it again */
  load(name: string): object {
    const had = this.#loaded.get(name);
    if (had) return had.module.exports;
    const { script, crc, isKept } = this.#compiled(name);
    const module = { exports: {} };
    this.#loaded.set(name, isKept ? { module } : { module, fresh: { script, crc } });
    try {
      this.#run(script, module, name);
    } catch (error) {
      this.#loaded.delete(name);
      throw error;
    }
    return module.exports;
  }

  /** Of each script of which nothing usable was kept, what is compiled by now. Where there is no room a start compiles. */
  keep(): void {
    this.#scratch = Buffer.alloc(0);
    const fresh = [...this.#loaded].flatMap(([name, loaded]) => {
      const compiled = loaded.fresh;
      delete loaded.fresh;
      return compiled ? [{ name, ...compiled }] : [];
    });
    if (fresh.length === 0 || !this.#kept) return;
    try {
      for (const { name, script, crc } of fresh) this.#kept.write(name, script.createCachedData(), crc);
      this.#kept.retain(readdirSync(this.#folder));
    } catch {}
  }

  #compiled(name: string): Compiled & { isKept: boolean } {
    const filename = join(this.#folder, name);
    const { code, crc } = this.#codeOf(filename);
    const cachedData = this.#kept?.of(name, crc);
    const script = new Script(code, { filename, columnOffset: -OPENING.length, cachedData });
    return { script, crc, isKept: cachedData !== undefined && script.cachedDataRejected === false };
  }

  /** What is around the source is put there in the same memory, so that it becomes a text once. */
  #codeOf(file: string): { code: string; crc: number } {
    const source = this.#read(file, OPENING.length, CLOSING.length);
    const end = OPENING.length + source.length;
    this.#scratch.write(OPENING, 'latin1');
    this.#scratch.write(CLOSING, end, 'latin1');
    return { code: this.#scratch.toString('utf8', 0, end + CLOSING.length), crc: crc32(source) };
  }

  /** What the file holds, until the next is read: to touch fresh memory for each takes longer than to read them. */
  #read(file: string, before = 0, after = 0): Buffer {
    const descriptor = openSync(file, 'r');
    try {
      const { size } = fstatSync(descriptor);
      const needed = before + size + after;
      if (this.#scratch.length < needed)
        this.#scratch = Buffer.allocUnsafeSlow(Math.max(needed, SCRATCH_BYTES));
      const read = readSync(descriptor, this.#scratch, before, size, 0);
      return this.#scratch.subarray(before, before + read);
    } finally {
      closeSync(descriptor);
    }
  }

  #run(script: Script, module: { exports: object }, name: string): void {
    const require = (wanted: string) =>
      OURS.test(wanted) ? this.load(wanted.slice(2)) : this.#require(wanted);
    const run = script.runInThisContext() as Run;
    run(module.exports, require, module, this.#folder, pathToFileURL(join(this.#folder, name)).href);
  }
}
