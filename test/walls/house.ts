/** Reads the house as it stands: every source file, what kind of room it is, and what it imports. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '..', '..');

export interface SourceFile {
  /** From the repository root, with forward slashes. */
  path: string;
  workspace: 'protocol' | 'agent' | 'fleet-server';
  text: string;
  imports: Import[];
}

export interface Import {
  specifier: string;
  /** `import type` vanishes at run time: it may name an adapter's types. */
  typeOnly: boolean;
  /** Path from the root when it is one of ours. */
  target: string | undefined;
}

const IMPORT = /^(?:import|export)\s+(type\s+)?(?:[^'"]*?\sfrom\s+)?['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

function targetOf(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return relative(ROOT, resolve(dirname(join(ROOT, from)), specifier));
  const own = /^@skein\/(protocol|agent|fleet-server)\/(.+)$/.exec(specifier);
  return own ? `${own[1]}/src/${own[2]}` : undefined;
}

function importsOf(path: string, text: string): Import[] {
  const fixed = [...text.matchAll(IMPORT)].map((m) => ({ specifier: m[2]!, typeOnly: Boolean(m[1]) }));
  const dynamic = [...text.matchAll(DYNAMIC)].map((m) => ({ specifier: m[1]!, typeOnly: false }));
  return [...fixed, ...dynamic].map((i) => ({ ...i, target: targetOf(path, i.specifier) }));
}

/** All TypeScript of the three workspaces' `src` folders. */
export function readHouse(): SourceFile[] {
  return (['protocol', 'agent', 'fleet-server'] as const).flatMap((workspace) => {
    const src = join(ROOT, workspace, 'src');
    return readdirSync(src, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => {
        const path = `${workspace}/src/${name}`;
        const text = readFileSync(join(src, name), 'utf8');
        return { path, workspace, text, imports: importsOf(path, text) };
      });
  });
}

/** A technology's adapter carries its name first; only such a file may import it. */
export const TECHNOLOGIES: { word: RegExp; imports: RegExp }[] = [
  { word: /^sqlite-/, imports: /^(better-sqlite3|kysely)$/ },
  { word: /^mqtt-/, imports: /^mqtt$/ },
  { word: /^aedes-/, imports: /^aedes/ },
  { word: /^onnx-/, imports: /^onnxruntime-node$/ },
  { word: /^x509-/, imports: /^@peculiar\/x509$/ },
  { word: /^grpc-/, imports: /^@grpc\// },
  { word: /^image-/, imports: /^@jsquash\// },
  { word: /^cron-/, imports: /^node-cron$/ },
];

const ADAPTER =
  /^(sqlite|mqtt|aedes|onnx|oip|http|disk|linux|systemd|child|x509|node|worker|command|tcp|unix|fastify|system|board|csv|tar|image|grpc|cron)-/;
/** `*-child.ts` is the entry of a process of its own. */
const SHELL = /^(run-.*|report-.*|.*-child|drain|presence|agent|server|main|system-clock)\.ts$/;
const SHELL_FOLDERS = /^(agent\/src\/(cli|api|model\/cli)|fleet-server\/src\/(cli|http))\//;

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
export const isAdapter = (path: string): boolean => ADAPTER.test(nameOf(path));
export const isShell = (path: string): boolean => SHELL.test(nameOf(path)) || SHELL_FOLDERS.test(path);
/** Desk tools of `skein-model`: a command-line program from end to end. */
export const isTool = (path: string): boolean => path === 'agent/src/model/cli.ts';
export const isPure = (path: string): boolean => !isAdapter(path) && !isShell(path) && !isTool(path);
