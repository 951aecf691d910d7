/**
 * JPEG by mozjpeg compiled to WebAssembly (libjpeg-turbo's decoder: the same pixels, bit for bit), in memory of its
 * own. Only what {@link jpegHeader} accepts reaches it. An instance that failed, or grew over a big picture, is given up:
 * WebAssembly memory never shrinks.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import factory from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import { jpegHeader } from './jpeg-header.ts';
import { checkSize, invalid, type PictureLimits, type Pixels } from './pixels.ts';

const WASM = import.meta.resolve('@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm');

/** An instance with more memory than this is not kept for the next picture. */
const KEPT_BYTES: Bytes = 64 * MIB;

/** The part of the Emscripten module that we use; the package's own types name a global that it does not declare. */
interface MozJpeg {
  readonly HEAPU8: Uint8Array;
  decode(
    bytes: Uint8Array,
    upright: boolean,
  ): { width: number; height: number; data: Uint8ClampedArray } | null;
}
const openModule = factory as unknown as (options: object) => Promise<MozJpeg>;

interface Decoder {
  module: MozJpeg;
  /** Warnings of the picture being decoded: libjpeg goes on after them, we do not. */
  said: string[];
}

/** Node has it; the language's own types do not. */
interface Runtime {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
}
const { Module, Instance } = (globalThis as unknown as { WebAssembly: Runtime }).WebAssembly;

let compiled: object | undefined;
let kept: Promise<Decoder> | undefined;

async function openDecoder(): Promise<Decoder> {
  compiled ??= new Module(readFileSync(fileURLToPath(WASM)));
  const said: string[] = [];
  const module = await openModule({
    noInitialRun: true,
    instantiateWasm(imports: object, ready: (instance: object) => void) {
      const instance = new Instance(compiled!, imports);
      ready(instance);
      return instance.exports;
    },
    print: (line: string) => void said.push(line),
    printErr: (line: string) => void said.push(line),
  });
  return { module, said };
}

/** Cameras pad their frames; every other warning is about damaged pixels. */
const HARMLESS = /extraneous bytes before marker/;

function rgbOf(rgba: Uint8ClampedArray, area: number): Uint8Array {
  const rgb = new Uint8Array(area * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    rgb[to++] = rgba[from]!;
    rgb[to++] = rgba[from + 1]!;
    rgb[to++] = rgba[from + 2]!;
  }
  return rgb;
}

/** Upright, by its EXIF orientation. @throws SkeinError IMAGE_INVALID, IMAGE_TOO_LARGE */
export async function decodeJpeg(bytes: Uint8Array, limits: PictureLimits): Promise<Pixels> {
  const header = jpegHeader(bytes);
  checkSize(header.width, header.height, limits);
  kept ??= openDecoder();
  const { module, said } = await kept;
  said.length = 0;
  try {
    const image = module.decode(bytes, true);
    const problem = said.find((line) => !HARMLESS.test(line));
    if (!image || problem) throw new Error(problem ?? 'it cannot be decoded');
    const { width, height, data } = image;
    if (module.HEAPU8.byteLength > KEPT_BYTES) kept = undefined;
    return { width, height, channels: 3, data: rgbOf(data, width * height) };
  } catch (cause) {
    kept = undefined;
    const what = said.find((line) => !HARMLESS.test(line)) ?? String((cause as Error)?.message ?? cause);
    throw invalid(`the JPEG is damaged: ${what}`, cause);
  }
}
