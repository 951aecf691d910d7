/**
 * How sources are changed on their way into the bundle. A worker's or child's program is named in them as
 * `new URL('./name.ts', import.meta.url)`: the name becomes that of the file which it is in the bundle. A package's
 * WebAssembly, named as `import.meta.resolve('package/name.wasm')`, lies beside them there.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, relative, resolve } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Plugin, type TransformOptions, transformSync } from 'esbuild';

const PROGRAM_URL = /new URL\(\s*['"](\.{1,2}\/[^'"]+\.ts)['"]\s*,\s*import\.meta\.url\s*,?\s*\)/g;

const WASM_FILE = /import\.meta\.resolve\(\s*['"]([^'"]+\.wasm)['"]\s*,?\s*\)/g;

export const programsNamedIn = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(PROGRAM_URL)].map((match) => resolve(dirname(file), match[1]!));

/** WebAssembly of packages, as files: resolved from the source that names it. */
export const wasmNamedIn = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(WASM_FILE)].map((match) => createRequire(file).resolve(match[1]!));

/** A whole namespace that is exported as a name is kept whole; of one that is imported, what is used. */
const NAMESPACE = /^import \{([^}]*)\bType,? *\} from 'typebox';$/gm;
const usedOfNamespace = (_all: string, others: string): string =>
  `import * as Type from 'typebox'; import {${others}} from 'typebox';`;

const rewritten = (file: string, programOf: (source: string) => string): string =>
  readFileSync(file, 'utf8')
    .replace(NAMESPACE, usedOfNamespace)
    .replace(
      PROGRAM_URL,
      (_all, name: string) => `new URL('./${programOf(resolve(dirname(file), name))}.js', import.meta.url)`,
    )
    .replace(WASM_FILE, (_all, name: string) => `new URL('./${basename(name)}', import.meta.url).href`);

/** @throws SkeinError INTERNAL for a file that looks for anything else beside itself: in a bundle it is not there */
export function refuseOtherPaths(root: string, file: string): void {
  const rest = readFileSync(file, 'utf8').replace(PROGRAM_URL, '').replace(WASM_FILE, '');
  if (!/\bimport\.meta\.(url|dirname|filename|resolve)\b/.test(rest)) return;
  throw new SkeinError(
    'INTERNAL',
    `${relative(root, file)} uses import.meta in a way a bundle can not keep`,
    {
      fix: "Name a program as new URL('./name.ts', import.meta.url), and data by configuration.",
    },
  );
}

/** @param programOf name of the file that a program's source becomes */
export const programNames = (programOf: (source: string) => string): Plugin => ({
  name: 'program-names',
  setup(builder) {
    builder.onLoad({ filter: /[\\/](agent|protocol)[\\/]src[\\/].*\.ts$/ }, ({ path }) => ({
      contents: rewritten(path, programOf),
      loader: 'ts',
    }));
  },
});

/** A path in a template, which esbuild would look for among the files of the machine that builds. */
const BINARY_TEMPLATE = 'require(`../bin/';

export const foundAtRun: Plugin = {
  name: 'found-at-run',
  setup(builder) {
    builder.onLoad({ filter: /[\\/]onnxruntime-node[\\/]dist[\\/]binding\.js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      if (!text.includes(BINARY_TEMPLATE))
        throw new SkeinError('INTERNAL', `${path} no longer finds its binary as it did`);
      return { contents: text.replace(BINARY_TEMPLATE, 'require(String.raw`../bin/'), loader: 'js' };
    });
  },
};

/** Of packages, the names inside functions: what is ours stays readable in a stack, and every kilobyte is read at each start. */
export const shortNames = (options: TransformOptions): Plugin => ({
  name: 'short-names',
  setup(builder) {
    builder.onLoad({ filter: /[\\/]node_modules[\\/].*\.[cm]?js$/ }, ({ path }) => {
      const { code } = transformSync(readFileSync(path, 'utf8'), { ...options, minifyIdentifiers: true });
      return { contents: code, loader: 'js' };
    });
  },
});
