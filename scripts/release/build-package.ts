/** One package from the sources: lay the tree out, pack it, measure it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Architecture } from './architectures.ts';
import { command } from './command.ts';
import { type Compression, installedBytes, pack } from './deb.ts';
import { layOut } from './lay-out.ts';
import type { Runtime } from './node-runtime.ts';

export interface BuildRequest {
  arch: Architecture;
  /** Folder for the .deb. */
  out: string;
  compression?: Compression;
}

export interface BuiltPackage {
  arch: Architecture;
  file: string;
  version: string;
  compression: Compression;
  packageBytes: number;
  installedBytes: number;
  runtime: Runtime;
}

export const ROOT = join(import.meta.dirname, '..', '..');

/** Downloads, kept between releases. */
export const CACHE = join(ROOT, '.skein', 'release');

const agentVersion = (): string =>
  (JSON.parse(readFileSync(join(ROOT, 'agent', 'package.json'), 'utf8')) as { version: string }).version;

/** SOURCE_DATE_EPOCH, else the commit's date, else (no git, no commit) the agent's own description. */
async function releaseEpoch(): Promise<number> {
  const given = Number(process.env.SOURCE_DATE_EPOCH);
  if (process.env.SOURCE_DATE_EPOCH && Number.isSafeInteger(given)) return given;
  const committed = await command('git', ['log', '-1', '--format=%ct'], { cwd: ROOT }).catch(() => '');
  return Number(committed.trim()) || Math.floor(statSync(join(ROOT, 'agent', 'package.json')).mtimeMs / 1000);
}

/** @throws SkeinError with what is missing: dpkg-deb, a package of npm, a platform's binary */
export async function buildPackage({
  arch,
  out,
  compression = 'small',
}: BuildRequest): Promise<BuiltPackage> {
  const tree = mkdtempSync(join(tmpdir(), `skein-${arch.deb}-`));
  try {
    const runtime = await layOut(ROOT, arch, CACHE, tree);
    const installed = installedBytes(tree);
    const version = agentVersion();
    mkdirSync(out, { recursive: true });
    const file = join(out, `skein-agent_${version}_${arch.deb}.deb`);
    await pack({ root: ROOT, tree, arch, version, epoch: await releaseEpoch(), compression, file });
    return {
      arch,
      file,
      version,
      compression,
      packageBytes: statSync(file).size,
      installedBytes: installed,
      runtime,
    };
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}
