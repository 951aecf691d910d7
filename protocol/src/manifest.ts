/**
 * The model manifest: the TUF target that offline keys sign. It says what a model takes and gives, how readings
 * become its tensors and its tensors become predictions, what it needs, and how to tell that it works.
 * Everything a device does with a model is data here, so that what was tried at the desk is what runs.
 */
import { type Static, Type } from 'typebox';
import { Postprocess, Preprocess } from './manifest-pipeline.ts';
import { checker, oneOf, recordOf, strict } from './schema.ts';
import { type Bytes, MIB } from './units.ts';

export type {
  ClassifyPostprocess,
  DetectPostprocess,
  FeaturePreprocess,
  ImagePreprocess,
} from './manifest-pipeline.ts';
export { Postprocess, Preprocess };

const text = (maxLength: number) => Type.String({ minLength: 1, maxLength });
const hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const numbers = (maxItems: number) => Type.Array(Type.Number(), { maxItems });

export const MODEL_NAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,62}$';
export const VERSION_PATTERN = '^[0-9]{1,9}\\.[0-9]{1,9}\\.[0-9]{1,9}(-[0-9a-z.-]{1,32})?$';

export const BlobRef = strict({ sha256: hash, size: Type.Integer({ minimum: 0, maximum: 2 ** 40 }) });

export const TensorSpec = strict({
  name: text(128),
  type: oneOf(['float32', 'float16', 'int8', 'uint8', 'int32', 'int64', 'float64', 'bool']),
  shape: Type.Array(Type.Integer({ minimum: -1 }), {
    maxItems: 8,
    description: '-1: free (batch) dimension',
  }),
  meaning: Type.Optional(Type.String({ maxLength: 200 })),
});

/** One chart of the drift profile (DRIFT.md, "The reference profile"). `edges` has one entry less than `probabilities`. */
export const ChartProfile = strict({
  name: text(96),
  edges: numbers(31),
  probabilities: numbers(32),
  range: Type.Union([Type.Tuple([Type.Number(), Type.Number()]), Type.Null()]),
  missingRate: Type.Number({ minimum: 0, maximum: 1 }),
  /** Block-bootstrap standard deviations of the window scores and their degrees of freedom. */
  sigmaLocation: Type.Number({ minimum: 0 }),
  sigmaScale: Type.Number({ minimum: 0 }),
  degreesOfFreedom: Type.Number({ minimum: 1 }),
  /** Rao–Scott: X²/c ~ χ²_ν. */
  raoScott: strict({ c: Type.Number({ exclusiveMinimum: 0 }), nu: Type.Number({ exclusiveMinimum: 0 }) }),
});

export const DriftProfile = strict({
  window: Type.Integer({ minimum: 10, description: 'Predictions per tumbling window' }),
  referenceSize: Type.Integer({ minimum: 0 }),
  windowsPerMonth: Type.Number({ exclusiveMinimum: 0 }),
  charts: Type.Array(ChartProfile, { maxItems: 1024 }),
});

/** Dotted numbers, `4.20.0`: compared number by number, missing ones are 0. */
export const SDK_VERSION_PATTERN = '^[0-9]{1,6}(\\.[0-9]{1,6}){0,3}$';
const sdkVersion = Type.String({ pattern: SDK_VERSION_PATTERN });

/**
 * One file that computes the model. What is not ONNX is opaque: nobody but its backend reads it, so `target` and
 * `sdk` say where it runs. A device compares them with what its backend says of itself before it downloads anything.
 */
export const Variant = strict({
  id: text(32),
  precision: oneOf(['fp32', 'fp16', 'int8']),
  /** `onnxruntime`: in the agent. Any other name is a key of the device's `backends`. */
  backend: text(32),
  file: BlobRef,
  format: Type.Optional(
    Type.String({
      pattern: '^[a-z0-9]{1,16}$',
      description: 'onnx when absent; else what the backend loads: plan, hef, rknn, tflite',
    }),
  ),
  target: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'Hardware the file was compiled for, in its backend’s words: orin-sm87, hailo8l, rk3588',
    }),
  ),
  sdk: Type.Optional(
    strict(
      { min: Type.Optional(sdkVersion), max: Type.Optional(sdkVersion) },
      'Versions of the backend’s runtime that load the file, both ends included',
    ),
  ),
  /** Largest absolute difference allowed between the golden outputs and this variant’s. */
  tolerance: Type.Number({ minimum: 0 }),
  accuracy: Type.Union([Type.Number(), Type.Null()], {
    description: 'Measured when packed: agreement with fp32 or accuracy on labels',
  }),
});

export const Manifest = strict({
  format: Type.Literal(1),
  name: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: VERSION_PATTERN }),
  description: Type.String({ maxLength: 1000 }),
  licence: text(64),
  inputs: Type.Array(TensorSpec, { minItems: 1, maxItems: 16 }),
  outputs: Type.Array(TensorSpec, { minItems: 1, maxItems: 16 }),
  preprocess: Preprocess,
  postprocess: Postprocess,
  /** In order of preference. */
  variants: Type.Array(Variant, { minItems: 1, maxItems: 16 }),
  /** JSON blob: {@link GoldenVectors}. */
  golden: BlobRef,
  drift: Type.Union([DriftProfile, Type.Null()]),
  needs: strict({
    memoryBytes: Type.Integer({ minimum: 0 }),
    tags: Type.Array(text(64), { maxItems: 16, description: 'Hardware tags a device must have' }),
  }),
  quantization: Type.Union([
    recordOf(Type.Union([Type.Number(), Type.String({ maxLength: 500 })])),
    Type.Null(),
  ]),
  lineage: strict({ trainedFrom: Type.Array(Type.String({ maxLength: 200 }), { maxItems: 16 }) }),
});

/** Golden vectors: flat tensors with their shapes. Outputs are of the fp32 reference; tolerance is per variant. */
export const GoldenVectors = strict({
  format: Type.Literal(1),
  vectors: Type.Array(
    strict({
      inputs: recordOf(
        strict({ shape: Type.Array(Type.Integer({ minimum: 0 })), data: Type.Array(Type.Number()) }),
      ),
      outputs: recordOf(
        strict({ shape: Type.Array(Type.Integer({ minimum: 0 })), data: Type.Array(Type.Number()) }),
      ),
    }),
    { minItems: 1, maxItems: 1000 },
  ),
});

export type BlobRef = Static<typeof BlobRef>;
export type TensorSpec = Static<typeof TensorSpec>;
export type ChartProfile = Static<typeof ChartProfile>;
export type DriftProfile = Static<typeof DriftProfile>;
export type Variant = Static<typeof Variant>;
export type Manifest = Static<typeof Manifest>;
export type GoldenVectors = Static<typeof GoldenVectors>;

export const MAX_MANIFEST_BYTES: Bytes = 4 * MIB;
const PACK_AGAIN = 'Pack the model again with `skein-model pack`; a manifest is not written by hand.';
/** @throws SkeinError MANIFEST_INVALID */
export const parseManifest = checker(Manifest, 'MANIFEST_INVALID', MAX_MANIFEST_BYTES, PACK_AGAIN);
/** @throws SkeinError BUNDLE_INVALID */
export const parseGolden = checker(GoldenVectors, 'BUNDLE_INVALID', 16 << 20, PACK_AGAIN);

/** Where a model's manifest lives in the image repository: the TUF target path. */
export const manifestPath = (name: string, version: string): string =>
  `models/${name}/${version}/manifest.json`;

/** All blobs of a manifest, the first variant first. */
export const blobsOf = (manifest: Manifest): BlobRef[] => [
  ...manifest.variants.map((v) => v.file),
  manifest.golden,
];
