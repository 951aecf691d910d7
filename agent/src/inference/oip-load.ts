/**
 * Loading into an inference server, in two ways.
 *
 * `sidecar` (agent/examples/sidecar/README.md): the server gets the path of the file. It reads it once, hashes what it
 * read, loads that, and says the hash: `{"state":"READY","sha256":"…"}`. While it compiles it answers 202
 * `{"state":"COMPILING","progress":0.4}` and is asked again.
 * `repository` (Triton's model repository extension, explicit model control): the server gets the bytes themselves,
 * `file:1/model.EXT` in base64, with a model configuration. Triton does not say what it loaded; what is known is that
 * the bytes sent hash to what the manifest says (proof `sent`). Triton answers only when it is done.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { checker } from '@skein/protocol/schema.ts';
import { type Bytes, KIB, MIB, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { DATATYPES } from '../api/oip-bytes.ts';
import { readBlob } from '../at-rest/disk-blob.ts';
import { plainCopy } from '../at-rest/disk-plain-copy.ts';
import type { Compiling, LoadRequest, Proof } from './backend.ts';
import { LateReply, type OipClient } from './oip-client.ts';
import { loadRefusal } from './oip-faults.ts';
import { maybe } from './oip-maybe.ts';

export type LoadWay = 'sidecar' | 'repository';

export interface LoadLimits {
  /** Until a server that compiles must be done. */
  loadTimeoutMs: Millis;
  timeoutMs: Millis;
}

/** What the server said of the model that it loaded. */
export interface OipLoaded {
  sha256: Sha256Hex;
  proof: Proof;
  version: string | null;
  provider: string;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
}

const POLL_MS: Millis = 250;
/** A load that takes longer than this is shown as compiling. */
const SLOW_MS: Millis = 2_000;
const MAX_WORDS: Bytes = 256 * KIB;
/** Triton takes requests up to 64 MiB unless told otherwise, and base64 adds a third. */
export const MAX_SENT: Bytes = 512 * MIB;

const word = maybe(Type.String({ maxLength: 200 }));
const LoadAnswer = checker(
  Type.Object({
    state: maybe(Type.String({ maxLength: 32 })),
    progress: maybe(Type.Number()),
    sha256: maybe(Type.String({ pattern: '^[0-9a-f]{64}$' })),
    provider: word,
  }),
  'BACKEND_FAULT',
  MAX_WORDS,
);
const Tensor = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 128 }),
  datatype: Type.String({ maxLength: 32 }),
  shape: Type.Array(Type.Integer({ minimum: -1 }), { maxItems: 8 }),
});
const Metadata = checker(
  Type.Object({
    name: Type.String({ maxLength: 256 }),
    versions: maybe(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 64 })),
    platform: word,
    inputs: Type.Array(Tensor, { minItems: 1, maxItems: 64 }),
    outputs: Type.Array(Tensor, { minItems: 1, maxItems: 64 }),
  }),
  'BACKEND_FAULT',
  MAX_WORDS,
);

/** Hashed by us, before the server is asked: a wrong byte on this disk is not the server's fault. @throws SkeinError BLOB_MISMATCH */
async function checkFile({ path, sha256 }: LoadRequest): Promise<void> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch (cause) {
    throw new SkeinError('MODEL_INVALID', `${path} cannot be read`, { cause });
  }
  refuseOther(path, hash.digest('hex'), sha256);
}

function refuseOther(path: string, found: Sha256Hex, expected: Sha256Hex): void {
  if (found === expected) return;
  throw new SkeinError('BLOB_MISMATCH', `${path} hashes to ${found}, expected ${expected}`, {
    fix: 'The file changed on disk; fetch it again.',
  });
}

/** Triton finds the model by the name of its file (user guide, "Model Files"). */
const TRITON_BACKENDS: Readonly<Record<string, string>> = {
  onnx: 'onnxruntime',
  plan: 'tensorrt',
  pt: 'pytorch',
};

async function repositoryBody(request: LoadRequest, name: string): Promise<Buffer> {
  if (request.sizeBytes > MAX_SENT)
    throw new SkeinError(
      'BACKEND_UNAVAILABLE',
      `${request.sizeBytes} bytes are too many to be sent to a repository`,
    );
  const bytes = await readBlob(request.path, request.blobKey).catch((cause: unknown) => {
    if (cause instanceof SkeinError) throw cause;
    throw new SkeinError('MODEL_INVALID', `${request.path} cannot be read`, { cause });
  });
  refuseOther(request.path, createHash('sha256').update(bytes).digest('hex'), request.sha256);
  const format = request.format ?? 'onnx';
  const config = JSON.stringify({ name, backend: TRITON_BACKENDS[format] ?? format });
  const file = { [`file:1/model.${format}`]: bytes.toString('base64') };
  return Buffer.from(JSON.stringify({ parameters: { config, ...file } }));
}

async function sidecarBody(request: LoadRequest): Promise<Buffer> {
  await checkFile(request);
  const { path, sha256, sizeBytes, format = 'onnx', threads } = request;
  return Buffer.from(
    JSON.stringify({ parameters: { path, sha256, size_bytes: sizeBytes, format, threads } }),
  );
}

/**
 * @param name under which the server knows the model
 * @throws SkeinError BLOB_MISMATCH, MODEL_INVALID, BACKEND_*, DRIVER_MISMATCH
 */
export async function loadInto(...to: Parameters<typeof loadAndAsk>): Promise<OipLoaded> {
  try {
    return await loadAndAsk(...to);
  } catch (thrown) {
    if (!(thrown instanceof LateReply)) throw thrown;
    const [, backend] = to;
    throw new SkeinError('BACKEND_UNAVAILABLE', `backend ${backend}: not loaded in time`, {
      fix: `Look at the log of its service, or raise backends.${backend}.loadTimeout.`,
    });
  }
}

/** The sidecar reads by path: of an encrypted file it gets a copy in clear, for as long as it loads. */
async function loadAndAsk(...[client, backend, way, name, request, ...more]: Parameters<typeof loadFrom>) {
  const { blobKey, path } = request;
  if (way !== 'sidecar' || !blobKey) return loadFrom(client, backend, way, name, request, ...more);
  const copy = await plainCopy(path, blobKey);
  try {
    return await loadFrom(client, backend, way, name, { ...request, path: copy.path }, ...more);
  } finally {
    await copy.remove();
  }
}

async function loadFrom(
  client: OipClient,
  backend: string,
  way: LoadWay,
  name: string,
  request: LoadRequest,
  limits: LoadLimits,
  compiling?: Compiling,
): Promise<OipLoaded> {
  const body = way === 'sidecar' ? await sidecarBody(request) : await repositoryBody(request, name);
  const answer = await askUntilReady(client, backend, name, body, limits, compiling);
  const said = answer.sha256 ?? null;
  if (said === null && way === 'sidecar')
    throw new SkeinError('BACKEND_UNPROVEN', `backend ${backend} does not say which bytes it loaded`, {
      fix: 'A sidecar must answer `load` with the SHA-256 of what it read; see agent/examples/sidecar/README.md.',
    });
  if (said !== null && said !== request.sha256)
    throw new SkeinError('BACKEND_FAULT', `backend ${backend} loaded ${said} instead of ${request.sha256}`);
  const proof: Proof = said === null ? 'sent' : 'sidecar';
  return {
    sha256: request.sha256,
    proof,
    ...(await readMetadata(client, backend, name, limits.timeoutMs, answer.provider)),
  };
}

async function askUntilReady(
  client: OipClient,
  backend: string,
  name: string,
  body: Buffer,
  { loadTimeoutMs }: LoadLimits,
  compiling: Compiling | undefined,
) {
  const until = performance.now() + loadTimeoutMs;
  const slow = setTimeout(() => compiling?.(null), SLOW_MS);
  try {
    for (;;) {
      const reply = await client.exchange({
        method: 'POST',
        control: true,
        path: `/v2/repository/models/${name}/load`,
        body: [body],
        headers: { 'content-type': 'application/json' },
        timeoutMs: Math.max(1, until - performance.now()),
        maxBytes: MAX_WORDS,
      });
      if (reply.status !== 200 && reply.status !== 202) throw loadRefusal(backend, reply);
      // Triton answers a load that worked with an empty body.
      const answer = reply.body.length > 0 ? LoadAnswer.parse(reply.body, `load answer of ${backend}`) : {};
      if (reply.status === 200) return answer;
      const progress = answer.progress ?? -1;
      compiling?.(progress >= 0 && progress <= 1 ? progress : null);
      if (performance.now() + POLL_MS > until) throw new LateReply('it still compiles');
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
  } finally {
    clearTimeout(slow);
  }
}

async function readMetadata(
  client: OipClient,
  backend: string,
  name: string,
  timeoutMs: Millis,
  provider: string | null | undefined,
) {
  const call = { path: `/v2/models/${name}`, control: true, timeoutMs, maxBytes: MAX_WORDS };
  const reply = await client.exchange(call);
  if (reply.status !== 200) throw loadRefusal(backend, reply);
  const { versions, platform, inputs, outputs } = Metadata.parse(reply.body, `metadata of ${name}`);
  return {
    version: versions?.length === 1 ? versions[0]! : null,
    provider: provider ?? platform ?? backend,
    inputs: inputs.map(specOf),
    outputs: outputs.map(specOf),
  };
}

function specOf({ name, datatype, shape }: { name: string; datatype: string; shape: number[] }): TensorSpec {
  const type = (Object.keys(DATATYPES) as TensorSpec['type'][]).find(
    (known) => DATATYPES[known] === datatype,
  );
  if (type) return { name, type, shape };
  throw new SkeinError('MODEL_INVALID', `\`${name}\` has datatype ${datatype}, which is not supported`);
}
