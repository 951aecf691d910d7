/**
 * The agent's own code as a few ES modules in one flat folder.
 *
 * In development a worker or child names its program as `new URL('./name.ts', import.meta.url)`. Every such name found
 * in the sources becomes an entry point of its own, and the name is rewritten to that entry's file. All files lie
 * in one folder, so the rewritten name is right from whichever module the code that says it ends up in. A package's
 * WebAssembly, named as `import.meta.resolve('package/name.wasm')`, is copied beside them.
 */
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { build, type Metafile, type Plugin } from 'esbuild';
import { NATIVE_PACKAGES } from './natives.ts';

const PROGRAM_URL = /new URL\(\s*['"](\.{1,2}\/[^'"]+\.ts)['"]\s*,\s*import\.meta\.url\s*,?\s*\)/g;

const WASM_FILE = /import\.meta\.resolve\(\s*['"]([^'"]+\.wasm)['"]\s*,?\s*\)/g;

/** What the wrappers in /usr/bin start, by the name of its file. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'agent/src/main.ts': 'skein-agent',
  'agent/src/model/cli.ts': 'skein-model',
};

/** CommonJS packages inside an ES module still call `require` for Node's own modules. */
const REQUIRE = "const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);";

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

const rewritten = (root: string, file: string): string =>
  readFileSync(file, 'utf8')
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

/**
 * Node's own modules are taken by `process.getBuiltinModule`, each when something of it is first used: an import would
 * load it at the start, and the first import of each as an ES module also reads every property it exports, which loads
 * what nobody asked for (`node:http` brings a whole web client).
 */
const lateBuiltins: Plugin = {
  name: 'late-builtins',
  setup(builder) {
    const namespace = 'node-builtin';
    builder.onResolve({ filter: /^(node:)?[a-z_/]+$/ }, ({ path, kind }) => {
      const imported = kind === 'import-statement' || kind === 'dynamic-import';
      return imported && isBuiltin(path) ? { path, namespace } : undefined;
    });
    builder.onLoad({ filter: /.*/, namespace }, ({ path }) => ({
      contents: lateBuiltin(path),
      loader: 'js',
    }));
  },
};

/** Names are those of the Node that builds, which is the one that is packed. */
function lateBuiltin(path: string): string {
  const module = process.getBuiltinModule(path) as object;
  return `let loaded;
const load = () => (loaded ??= process.getBuiltinModule(${JSON.stringify(path)}));
for (const name of ${JSON.stringify(Object.keys(module))})
  Object.defineProperty(module.exports, name, { enumerable: true, get: () => load()[name] });`;
}

/** Writes the modules into `target`. The result's inputs say which packages are inside. */
export async function bundleAgent(root: string, target: string): Promise<Metafile> {
  const files = sources(root);
  for (const file of files) refuseOtherPaths(root, file);
  const named = files.flatMap(programsNamedIn);
  const entries = new Set([...Object.keys(PROGRAMS).map((path) => join(root, path)), ...named]);
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...entries].map((file) => ({ in: file, out: entryName(root, file) })),
    outdir: target,
    chunkNames: 'shared-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    external: [...NATIVE_PACKAGES],
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    sourcemap: false,
    metafile: true,
    logLevel: 'silent',
    banner: { js: REQUIRE },
    plugins: [programNames(root), lateBuiltins],
  });
  for (const file of files.flatMap(wasmNamedIn)) copyFileSync(file, join(target, basename(file)));
  return metafile;
}
