/**
 * Fewer files for a start. esbuild makes a file of each set of modules that the same entry points reach, ninety for the
 * daemon, and Node spends as much on finding, reading and linking so many as on what is in them. What a program always
 * loads together becomes one file here, by bundling those files once more; who imported one of them imports from the
 * whole. A name that two files export is told apart by the file it came from.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type BuildOptions, build, type Metafile, type Plugin, transform } from 'esbuild';

/** One file instead of those that a start loads together. */
interface Whole {
  file: string;
  members: readonly string[];
}

type Outputs = ReadonlyMap<string, Metafile['outputs'][string]>;

const FACADE = 'facade';
/** Of a program's source; a script has none. */
const HASHBANG = /^#!.*\n/;
const CHUNK = /^\.\/[^/]+\.cjs$/;

/** `file` and all that is loaded because of it, in the order in which it is imported. */
function loadedWith(outputs: Outputs, file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  for (const { external, kind, path } of outputs.get(file)!.imports)
    if (kind === 'import-statement' && !external) loadedWith(outputs, basename(path), found);
  return found;
}

/** A program or a part of it, as esbuild names its source; with `whole` it stays a file that imports the whole. */
export interface LoadedTogether {
  source: string;
  whole?: string;
}

/** Each takes what those before it have not. @throws SkeinError INTERNAL for a source that no file begins with */
function wholesOf(outputs: Outputs, entries: readonly LoadedTogether[]): Whole[] {
  const taken = new Set<string>();
  return entries.map(({ source, whole }) => {
    const [entry] = [...outputs].find(([, { entryPoint }]) => entryPoint === source) ?? [];
    if (!entry) throw new SkeinError('INTERNAL', `no file of the bundle begins with ${source}`);
    const members = [...loadedWith(outputs, entry)].filter((file) => !taken.has(file));
    for (const file of members) taken.add(file);
    return { file: whole ?? entry, members: whole ? members.filter((file) => file !== entry) : members };
  });
}

class Merging {
  readonly #outputs: Outputs;
  readonly #wholeOf: ReadonlyMap<string, string>;
  readonly #options: BuildOptions;
  readonly #folder: string;

  constructor(outputs: Outputs, wholes: readonly Whole[], folder: string, options: BuildOptions) {
    this.#outputs = outputs;
    this.#wholeOf = new Map(wholes.flatMap(({ file, members }) => members.map((member) => [member, file])));
    this.#folder = folder;
    this.#options = { ...options, absWorkingDir: folder, bundle: true, splitting: false };
  }

  /** As the whole exports what `member` did; whoever imports the part that a whole is named after needs no other name. */
  #exported(member: string, name: string): string {
    return this.#wholeOf.get(member) === member ? name : `${member.replace(/\W/g, '_')}_${name}`;
  }

  #names(member: string, text: (name: string, exported: string) => string): string {
    const { exports } = this.#outputs.get(member)!;
    return exports.map((name) => text(name, this.#exported(member, name))).join(', ');
  }

  /** What stands for `member` outside its whole. */
  #facade = (member: string): string =>
    `export { ${this.#names(member, (name, exported) => `${exported} as ${name}`)} } from './${this.#wholeOf.get(member)}';`;

  /** Files stay files, except the members of `whole`; members of another are taken from there. */
  #plugin(whole?: string): Plugin {
    return {
      name: 'merge-chunks',
      setup: (builder) => {
        builder.onResolve({ filter: CHUNK }, ({ kind, namespace, path }) => {
          const file = basename(path);
          const of = this.#wholeOf.get(file);
          if (kind === 'entry-point') return undefined;
          if (namespace === FACADE || kind === 'dynamic-import' || of === undefined)
            return { path, external: true };
          return of === whole ? undefined : { path: file, namespace: FACADE };
        });
        builder.onLoad({ filter: /.*/, namespace: FACADE }, ({ path }) => ({
          contents: this.#facade(path),
          resolveDir: this.#folder,
        }));
      },
    };
  }

  async whole({ file, members }: Whole): Promise<[string, string]> {
    const lines = members.map((member) => {
      const names = this.#names(member, (name, exported) => `${name} as ${exported}`);
      return names ? `export { ${names} } from './${member}';` : `import './${member}';`;
    });
    const stdin = { contents: lines.join('\n'), resolveDir: this.#folder };
    const { outputFiles } = await build({
      ...this.#options,
      stdin,
      plugins: [this.#plugin(file)],
      write: false,
    });
    return [file, outputFiles[0]!.text];
  }

  async rest(files: readonly string[]): Promise<[string, string][]> {
    const { outputFiles } = await build({
      ...this.#options,
      entryPoints: files.map((file) => `./${file}`),
      outdir: this.#folder,
      plugins: [this.#plugin()],
      write: false,
    });
    return outputFiles.map(({ path, text }) => [basename(path), text]);
  }

  /** For those that are asked for by name while the program runs. */
  facades(): Promise<[string, string][]> {
    const named = [...this.#wholeOf].filter(([member, whole]) => member !== whole);
    const asked = named.filter(([member]) => this.#outputs.get(member)!.entryPoint !== undefined);
    return Promise.all(
      asked.map(async ([member]) => {
        const { code } = await transform(this.#facade(member), { format: this.#options.format });
        return [member, code] as [string, string];
      }),
    );
  }
}

/**
 * @param folder with what esbuild wrote there, and nothing else beside it that imports from it
 * @param entries in the order in which they start
 */
export async function mergeChunks(
  folder: string,
  metafile: Metafile,
  entries: readonly LoadedTogether[],
  options: BuildOptions,
): Promise<void> {
  const outputs: Outputs = new Map(
    Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output]),
  );
  const wholes = wholesOf(outputs, entries);
  const merging = new Merging(outputs, wholes, folder, options);
  const merged = new Set(wholes.flatMap(({ members }) => members));
  const written = [
    ...(await Promise.all(wholes.map((whole) => merging.whole(whole)))),
    ...(await merging.rest([...outputs.keys()].filter((file) => !merged.has(file)))),
    ...(await merging.facades()),
  ];
  for (const file of merged) rmSync(join(folder, file));
  for (const [file, text] of written) writeFileSync(join(folder, file), text.replace(HASHBANG, ''));
}
