/**
 * The agent's own code as a few ES modules in one flat folder.
 *
 * In development a worker or child names its program as `new URL('./name.ts', import.meta.url)`. Every such name found
 * in the sources becomes an entry point of its own, and the name is rewritten to that entry's file. All files lie
 * in one folder, so the rewritten name is right from whichever module the code that says it ends up in. A package's
 * WebAssembly, named as `import.meta.resolve('package/name.wasm')`, is copied beside them.
 */
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild';
import { lateModules } from './late-modules.ts';
import { mergeChunks } from './merge-chunks.ts';

const PROGRAM_URL = /new URL\(\s*['"](\.{1,2}\/[^'"]+\.ts)['"]\s*,\s*import\.meta\.url\s*,?\s*\)/g;

const WASM_FILE = /import\.meta\.resolve\(\s*['"]([^'"]+\.wasm)['"]\s*,?\s*\)/g;

const DAEMON = 'agent/src/main.ts';

/** What the wrappers in /usr/bin start, by the name of its file. */
const PROGRAMS: Readonly<Record<string, string>> = {
  [DAEMON]: 'skein-agent',
  'agent/src/model/cli.ts': 'skein-model',
};

/**
 * CommonJS packages inside an ES module still call `require`, and look for their binaries beside the folder of their own
 * code: in the package that is the folder of the bundle.
 */
const OWN_PLACE = `const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);
const __dirname = import.meta.dirname;`;

const sources = (root: string): string[] =>
  ['agent', 'protocol'].flatMap((workspace) =>
    readdirSync(join(root, workspace, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(root, workspace, 'src', name))
      .sort(),
  );

/** `agent/src/inference/onnx-worker.ts` → `inference-onnx-worker`. */
const entryName = (root: string, file: string): string =>
  PROGRAMS[relative(root, file)] ??
  relative(root, file)
    .replace(/^(agent|protocol)\/src\//, '')
    .replaceAll('/', '-')
    .replace(/\.ts$/, '');

const programsNamedIn = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(PROGRAM_URL)].map((match) => resolve(dirname(file), match[1]!));

/** WebAssembly of packages, as files: resolved from the source that names it. */
const wasmNamedIn = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(WASM_FILE)].map((match) => createRequire(file).resolve(match[1]!));

/** A whole namespace that is exported as a name is kept whole; of one that is imported, what is used. */
const NAMESPACE = /^import \{([^}]*)\bType,? *\} from 'typebox';$/gm;
const usedOfNamespace = (_all: string, others: string): string =>
  `import * as Type from 'typebox'; import {${others}} from 'typebox';`;

const rewritten = (root: string, file: string): string =>
  readFileSync(file, 'utf8')
    .replace(NAMESPACE, usedOfNamespace)
    .replace(
      PROGRAM_URL,
      (_all, name: string) =>
        `new URL('./${entryName(root, resolve(dirname(file), name))}.js', import.meta.url)`,
    )
    .replace(WASM_FILE, (_all, name: string) => `new URL('./${basename(name)}', import.meta.url).href`);

/** @throws SkeinError INTERNAL for a file that looks for anything else beside itself: in a bundle it is not there */
function refuseOtherPaths(root: string, file: string): void {
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

const programNames = (root: string): Plugin => ({
  name: 'program-names',
  setup(builder) {
    builder.onLoad({ filter: /[\\/](agent|protocol)[\\/]src[\\/].*\.ts$/ }, ({ path }) => ({
      contents: rewritten(root, path),
      loader: 'ts',
    }));
  },
});

/** A path in a template, which esbuild would look for among the files of the machine that builds. */
const BINARY_TEMPLATE = 'require(`../bin/';

const foundAtRun: Plugin = {
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

const OPTIONS = {
  format: 'esm',
  platform: 'node',
  target: 'node24',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  sourcemap: false,
  logLevel: 'silent',
} as const satisfies BuildOptions;

/** What the daemon always loads, in two steps: what every command needs, and what `run` adds to it. */
const LOADED_TOGETHER = [
  { source: DAEMON, whole: 'skein-agent-core.js' },
  { source: 'agent/src/cli/run.ts' },
];

/** @param chunks what the files that they share are called @returns what it wrote */
async function bundle(
  root: string,
  target: string,
  files: readonly string[],
  chunks: string,
): Promise<Metafile> {
  const { metafile } = await build({
    ...OPTIONS,
    absWorkingDir: root,
    entryPoints: files.map((file) => ({ in: file, out: entryName(root, file) })),
    outdir: target,
    chunkNames: `${chunks}-[hash]`,
    bundle: true,
    splitting: true,
    metafile: true,
    banner: { js: OWN_PLACE },
    plugins: [programNames(root), lateModules, foundAtRun],
  });
  return metafile;
}

/**
 * Writes the modules into `target`. The daemon shares none with the other programs and its own workers: so what it starts
 * with can be few files.
 * @returns the sources whose code is inside
 */
export async function bundleAgent(root: string, target: string): Promise<string[]> {
  const files = sources(root);
  for (const file of files) refuseOtherPaths(root, file);
  const programs = Object.keys(PROGRAMS).map((path) => join(root, path));
  const entries = new Set([...programs, ...files.flatMap(programsNamedIn)]);
  const daemon = join(root, DAEMON);
  const others = [...entries].filter((file) => file !== daemon);
  const own = await bundle(root, target, [daemon], 'daemon');
  await mergeChunks(target, own, LOADED_TOGETHER, OPTIONS);
  const { inputs } = await bundle(root, target, others, 'shared');
  for (const file of files.flatMap(wasmNamedIn)) copyFileSync(file, join(target, basename(file)));
  return [...new Set([...Object.keys(own.inputs), ...Object.keys(inputs)])];
}
