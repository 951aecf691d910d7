/**
 * The agent's own code as a few files in one flat folder: ES modules, and of the daemon scripts, which
 * `agent/src/start` loads with what was compiled of them. Every program that a source names becomes an entry point of its
 * own (`source-rewrites.ts`); because all files lie in one folder, its name is right from whichever of them says it.
 */
import { copyFileSync, readdirSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { type BuildOptions, build, type Metafile } from 'esbuild';
import { lateModules } from './late-modules.ts';
import { mergeChunks } from './merge-chunks.ts';
import {
  foundAtRun,
  programNames,
  programsNamedIn,
  refuseOtherPaths,
  shortNames,
  wasmNamedIn,
} from './source-rewrites.ts';

const DAEMON = 'agent/src/main.ts';
const START = 'agent/src/start/main.ts';

/** What the wrappers in /usr/bin start, by the name of its file, and the daemon, by what `START` calls it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  [START]: 'skein-agent',
  [DAEMON]: 'skein-agent-main',
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

const PLATFORM = { platform: 'node', target: 'node24' } as const satisfies BuildOptions;

const OPTIONS = {
  ...PLATFORM,
  format: 'esm',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  sourcemap: false,
  logLevel: 'silent',
} as const satisfies BuildOptions;

/** As a script has it from `START`, beside `require` and `__dirname`. */
const AS_SCRIPT = {
  ...OPTIONS,
  format: 'cjs',
  supported: { 'dynamic-import': false },
  define: { 'import.meta.url': '__url' },
} as const satisfies BuildOptions;

/** What the daemon always loads, in two steps: what every command needs, and what `run` adds to it. */
const LOADED_TOGETHER = [
  { source: DAEMON, whole: 'skein-agent-core.cjs' },
  { source: 'agent/src/cli/run.ts' },
];

/** @param more chunk names and what else is theirs @returns what it wrote */
async function bundle(
  root: string,
  target: string,
  files: readonly string[],
  more: BuildOptions,
): Promise<Metafile> {
  const { metafile } = await build({
    ...OPTIONS,
    absWorkingDir: root,
    entryPoints: files.map((file) => ({ in: file, out: entryName(root, file) })),
    outdir: target,
    bundle: true,
    splitting: true,
    metafile: true,
    plugins: [programNames((file) => entryName(root, file)), lateModules, foundAtRun, shortNames(PLATFORM)],
    ...more,
  });
  return metafile!;
}

/**
 * Writes the files into `target`. The daemon shares none with the other programs and its own workers: so what it starts
 * with can be few files.
 * @returns the sources whose code is inside
 */
export async function bundleAgent(root: string, target: string): Promise<string[]> {
  const files = sources(root);
  for (const file of files) refuseOtherPaths(root, file);
  const [daemon, start] = [DAEMON, START].map((path) => join(root, path)) as [string, string];
  const programs = Object.keys(PROGRAMS).map((path) => join(root, path));
  const entries = new Set([...programs, ...files.flatMap(programsNamedIn)]);
  const others = [...entries].filter((file) => file !== daemon && file !== start);
  const scripts = { outExtension: { '.js': '.cjs' } };
  const own = await bundle(root, target, [daemon], { ...scripts, chunkNames: 'daemon-[hash]' });
  await mergeChunks(target, own, LOADED_TOGETHER, { ...AS_SCRIPT, ...scripts });
  await bundle(root, target, [start], { ...scripts, format: 'cjs', splitting: false, plugins: [] });
  const modules = { chunkNames: 'shared-[hash]', banner: { js: OWN_PLACE } };
  const { inputs } = await bundle(root, target, others, modules);
  for (const file of files.flatMap(wasmNamedIn)) copyFileSync(file, join(target, basename(file)));
  return [...new Set([...Object.keys(own.inputs), ...Object.keys(inputs)])];
}
