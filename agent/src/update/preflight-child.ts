/**
 * The child of a preflight: loads one model, tries its golden vectors, says what happened and ends; or loads several that
 * passed and runs them in turns. onnxruntime runs in this process, so that nothing a model does reaches the agent;
 * a model of another backend runs in its server, under a name of preflight's own.
 */
import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { type GoldenVectors, parseGolden } from '@skein/protocol/manifest.ts';
import { readBlob } from '../at-rest/disk-blob.ts';
import type { LoadedModel, Tensors } from '../inference/backend.ts';
import { Backends } from '../inference/backends.ts';
import { OipBackend } from '../inference/oip-backend.ts';
import { openSession } from '../inference/onnx-session.ts';
import { compareGolden, goldenInputs } from './golden.ts';
import { measureInTurns } from './measure.ts';
import type { PreflightVerdict } from './ports.ts';
import type { PreflightLine, PreflightRequest, PreflightVariant } from './preflight-wire.ts';
import { isInProcess } from './variants.ts';

const MEASURE_MS = 2_000;

const say = (line: PreflightLine) =>
  new Promise<void>((done) => process.stdout.write(`${JSON.stringify(line)}\n`, () => done()));

async function readRequest(): Promise<PreflightRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as PreflightRequest;
}

const blobKeyOf = ({ blobKey }: PreflightRequest): Uint8Array | undefined =>
  blobKey === undefined ? undefined : Buffer.from(blobKey, 'base64');

/** @throws SkeinError BLOB_MISMATCH, BUNDLE_INVALID, DATA_KEY_* */
async function readGolden(request: PreflightRequest): Promise<GoldenVectors> {
  const { goldenPath, goldenSha256 } = request;
  const bytes = await readBlob(goldenPath, blobKeyOf(request));
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== goldenSha256) throw new SkeinError('BLOB_MISMATCH', `golden vectors hash to ${found}`);
  return parseGolden.parse(bytes, 'golden vectors');
}

type Opened = Pick<LoadedModel, 'sha256' | 'proof' | 'inputs' | 'close'> & {
  run(inputs: Tensors): Promise<Tensors>;
};

/** A whole percent more, or nothing: what a child may say is bounded. */
function compilingTeller() {
  let told = -1;
  return (share: number | null): void => {
    const percent = share === null ? 0 : Math.floor(share * 100);
    if (percent <= told) return;
    told = percent;
    void say({ stage: 'compiling', share });
  };
}

async function open(
  request: PreflightRequest,
  { modelPath: path, variant }: PreflightVariant,
): Promise<Opened> {
  const { threads, providers, model } = request;
  const { sha256, size: sizeBytes } = variant.file;
  const blobKey = blobKeyOf(request);
  if (isInProcess(variant.backend)) return openSession({ path, sha256, threads, providers, blobKey });
  const servers = request.backends.map((options) => new OipBackend({ ...options, blobKey, role: 'try' }));
  const backends = new Backends({ name: 'none', load: () => Promise.reject(new Error()) }, servers);
  const format = variant.format === undefined ? {} : { format: variant.format };
  const { backend } = variant;
  const wanted = { path, sha256, sizeBytes, backend, model, threads, providers, ...format };
  const loaded = await backends.load(wanted, compilingTeller());
  const proof = loaded.proof ? { proof: loaded.proof } : {};
  return {
    ...{ sha256: loaded.sha256, inputs: loaded.inputs, ...proof },
    run: (inputs) => loaded.infer(inputs),
    close: () => loaded.close(),
  };
}

async function tryVectors(
  session: Opened,
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
    ...(session.proof ? { proof: session.proof } : {}),
  };
}

function failed(thrown: unknown, loaded: string | null, total: number): PreflightVerdict {
  const error = asSkeinError(thrown, 'MODEL_CRASHED');
  const golden = { passed: 0, total };
  const environment = error.code === 'BLOB_MISMATCH' || error.blame === 'environment';
  return { ok: false, code: error.code, detail: error.message.slice(0, 500), loaded, golden, environment };
}

async function preflight(request: PreflightRequest, one: PreflightVariant): Promise<PreflightVerdict> {
  let session: Opened | undefined;
  let total = 0;
  try {
    const golden = await readGolden(request);
    total = golden.vectors.length;
    session = await open(request, one);
    await say({ stage: 'loaded' });
    return await tryVectors(session, golden, one.variant.tolerance);
  } catch (thrown) {
    return failed(thrown, session?.sha256 ?? null, total);
  } finally {
    if (!isInProcess(one.variant.backend)) await session?.close();
  }
}

async function measure(request: PreflightRequest): Promise<PreflightLine> {
  const opened: Opened[] = [];
  try {
    const { vectors } = await readGolden(request);
    for (const one of request.variants) opened.push(await open(request, one));
    await say({ stage: 'loaded' });
    const runners = opened.map((session, i) => {
      const inputs = vectors.slice(0, 16).map((vector) => goldenInputs(vector, session.inputs));
      const variant = request.variants[i]!.variant.id;
      return { variant, run: (round: number) => session.run(inputs[round % inputs.length]!) };
    });
    return { stage: 'measured', figures: await measureInTurns(runners, () => performance.now(), MEASURE_MS) };
  } catch (thrown) {
    return { stage: 'unmeasured', why: asSkeinError(thrown).message.slice(0, 500) };
  } finally {
    for (const session of opened) await session.close().catch(() => undefined);
  }
}

await say({ stage: 'ready' });
const request = await readRequest();
const [only, ...more] = request.variants;
if (more.length > 0) await say(await measure(request));
else await say({ stage: 'verdict', verdict: await preflight(request, only!) });
process.exit(0);
