/** The child of a preflight: loads one model, tries its golden vectors, says what happened and ends. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { type GoldenVectors, parseGolden } from '@skein/protocol/manifest.ts';
import { type OnnxSession, openSession } from '../inference/onnx-session.ts';
import { compareGolden, goldenInputs } from './golden.ts';
import type { PreflightVerdict } from './ports.ts';
import type { PreflightLine, PreflightRequest } from './preflight-wire.ts';

const say = (line: PreflightLine) =>
  new Promise<void>((done) => process.stdout.write(`${JSON.stringify(line)}\n`, () => done()));

async function readRequest(): Promise<PreflightRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as PreflightRequest;
}

/** @throws SkeinError BLOB_MISMATCH, BUNDLE_INVALID */
async function readGolden({ goldenPath, goldenSha256 }: PreflightRequest): Promise<GoldenVectors> {
  const bytes = await readFile(goldenPath);
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== goldenSha256) throw new SkeinError('BLOB_MISMATCH', `golden vectors hash to ${found}`);
  return parseGolden.parse(bytes, 'golden vectors');
}

async function tryVectors(
  session: OnnxSession,
  golden: GoldenVectors,
  tolerance: number,
): Promise<PreflightVerdict> {
  const total = golden.vectors.length;
  let passed = 0;
  let first: { code: string; detail: string } | undefined;
  for (const [index, vector] of golden.vectors.entries()) {
    const outputs = await session.run(goldenInputs(vector, session.inputs));
    const finding = compareGolden(vector, outputs, tolerance);
    if (!finding) passed++;
    else
      first ??= { code: finding.code, detail: `golden vector ${index + 1} of ${total}: ${finding.detail}` };
  }
  return {
    ok: first === undefined,
    code: first?.code ?? null,
    detail: first?.detail ?? null,
    loaded: session.sha256,
    golden: { passed, total },
    environment: false,
  };
}

function failed(thrown: unknown, loaded: string | null, total: number): PreflightVerdict {
  const error = asSkeinError(thrown, 'MODEL_CRASHED');
  const golden = { passed: 0, total };
  const environment = error.code === 'BLOB_MISMATCH' || error.blame === 'environment';
  return { ok: false, code: error.code, detail: error.message.slice(0, 500), loaded, golden, environment };
}

async function preflight(request: PreflightRequest): Promise<PreflightVerdict> {
  const { variant, modelPath, threads, providers } = request;
  let loaded: string | null = null;
  let total = 0;
  try {
    const golden = await readGolden(request);
    total = golden.vectors.length;
    const { sha256 } = variant.file;
    const session = await openSession({ path: modelPath, sha256, threads, providers });
    loaded = session.sha256;
    await say({ stage: 'loaded' });
    return await tryVectors(session, golden, variant.tolerance);
  } catch (thrown) {
    return failed(thrown, loaded, total);
  }
}

await say({ stage: 'ready' });
await say({ stage: 'verdict', verdict: await preflight(await readRequest()) });
process.exit(0);
