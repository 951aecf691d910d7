/**
 * `skein-model verify`: the manifest, every hash, every variant against the golden vectors, and, when metadata is given,
 * the signatures that name this very manifest. Each is a check of its own: one that fails does not hide the others.
 */
import { readFile } from 'node:fs/promises';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import {
  type Manifest,
  manifestPath,
  parseGolden,
  parseManifest,
  type Variant,
} from '@skein/protocol/manifest.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import { findTarget, runRefresh, startRefresh } from '@skein/protocol/trust/client-workflow.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import { NO_FLOORS } from '@skein/protocol/trust/trusted-set.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { nodeKeys } from '../node-keys.ts';
import { compareGolden, goldenInputs } from '../update/golden.ts';
import { type BundleFiles, checkBlob, hashOf } from './bundle.ts';
import { readBundleFiles } from './disk-bundle.ts';
import { diskMetadata } from './disk-metadata.ts';
import { goldenDifference } from './golden.ts';
import { openModel } from './onnx-quantize.ts';

export interface Check {
  check: 'manifest' | 'blob' | 'golden' | 'signature';
  subject: string;
  /** null: could not be checked here, which is said and not held against the bundle. */
  ok: boolean | null;
  detail: string;
  /** What to do about a failure, where it is known. */
  fix?: string;
}

export interface VerifyOptions {
  /** A trusted root of the image repository, and the folder with its metadata. */
  root?: string | undefined;
  metadata?: string | undefined;
  /** Metadata expire. */
  now: Millis;
}

type Tried = { ok: boolean | null; detail: string };

async function tried(
  check: Check['check'],
  subject: string,
  run: () => Promise<Tried | string> | Tried | string,
): Promise<Check> {
  try {
    const outcome = await run();
    return { check, subject, ...(typeof outcome === 'string' ? { ok: true, detail: outcome } : outcome) };
  } catch (thrown) {
    const { code, message, fix } = asSkeinError(thrown);
    return { check, subject, ok: false, detail: `${code}: ${message}`, ...(fix ? { fix } : {}) };
  }
}

/** Runs the variant on every golden input. */
async function goldenOutcome(variant: Variant, manifest: Manifest, files: BundleFiles): Promise<Tried> {
  if (variant.backend !== 'onnxruntime')
    return { ok: null, detail: `runs on ${variant.backend} ${variant.target ?? ''} only`.replace('  ', ' ') };
  const golden = parseGolden.parse(
    files.blobs.get(manifest.golden.sha256) ?? new Uint8Array(),
    'golden vectors',
  );
  const session = await openModel(files.blobs.get(variant.file.sha256) ?? new Uint8Array());
  try {
    let [passed, largest] = [0, 0];
    let first: string | undefined;
    for (const vector of golden.vectors) {
      const outputs = await session.run(goldenInputs(vector, session.inputs));
      const finding = compareGolden(vector, outputs, variant.tolerance);
      largest = Math.max(largest, goldenDifference(vector, outputs));
      if (finding) first ??= finding.detail;
      else passed++;
    }
    const figures = `${passed}/${golden.vectors.length}, largest difference ${largest.toPrecision(3)}`;
    const detail = `${figures}, ${variant.tolerance.toPrecision(3)} allowed`;
    return { ok: passed === golden.vectors.length, detail: first ? `${detail}; ${first}` : detail };
  } finally {
    await session.close();
  }
}

/** Clause 5 of TUF over the folder, then the target of this manifest in it. */
async function signedOutcome(
  root: string,
  metadata: string,
  manifest: Manifest,
  bytes: Uint8Array,
  now: Millis,
) {
  const rootBytes = new Uint8Array(
    await readFile(root).catch((cause: unknown) => {
      throw new SkeinError('METADATA_INVALID', `${root} can not be read`, { cause });
    }),
  );
  const start = { last: rootBytes, pinned: rootBytes, floors: NO_FLOORS };
  const refresh = startRefresh(nodeKeys, start, now);
  const mirror = diskMetadata(metadata);
  const path = manifestPath(manifest.name, manifest.version);
  const targets = await runRefresh(mirror, refresh, new Map());
  const file = await findTarget(mirror, refresh, new Map(), path);
  if (!file) throw new SkeinError('METADATA_DISAGREES', `no signed target ${path}`);
  if (file.hashes.sha256 !== hashOf(bytes) || file.length !== bytes.length)
    throw new SkeinError('METADATA_DISAGREES', `${path} was signed with other bytes`);
  const target = readModelTarget(path, file);
  return `${path}, release ${target?.release ?? '?'}, floor ${target?.floor ?? '?'}; targets ${targets.version} expire ${targets.expires}`;
}

/** @throws SkeinError BUNDLE_INVALID, BUNDLE_TRUNCATED when there is nothing to check */
export async function runVerify(path: string, options: VerifyOptions): Promise<Check[]> {
  const files = await readBundleFiles(path);
  let manifest: Manifest | undefined;
  const checks = [
    await tried('manifest', 'manifest.json', () => {
      manifest = parseManifest.parse(files.manifestBytes, 'manifest.json');
      checkManifest(manifest);
      return `${manifest.name}@${manifest.version}, sha256 ${hashOf(files.manifestBytes)}`;
    }),
  ];
  if (!manifest) return checks;
  const known = manifest;
  const blobs = [
    ...known.variants.map(({ id, file }) => ({ subject: `variant ${id}`, file })),
    { subject: 'golden vectors', file: known.golden },
  ];
  for (const { subject, file } of blobs) {
    checks.push(
      await tried('blob', subject, () => {
        checkBlob(file, files.blobs);
        return `${file.size} bytes, sha256 ${file.sha256}`;
      }),
    );
  }
  for (const variant of known.variants)
    checks.push(await tried('golden', `variant ${variant.id}`, () => goldenOutcome(variant, known, files)));
  const { root, metadata, now } = options;
  if (root !== undefined && metadata !== undefined) {
    const run = () => signedOutcome(root, metadata, known, files.manifestBytes, now);
    checks.push(await tried('signature', 'image repository', run));
  }
  return checks;
}

export const allPassed = (checks: readonly Check[]): boolean => checks.every(({ ok }) => ok !== false);
