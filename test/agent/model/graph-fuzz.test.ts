/** The reader of ONNX files against what no tool writes: refused with a code, in bounded time and memory. */
import { performance } from 'node:perf_hooks';
import { type GraphProto, loadGraph, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';
import { prepareForQuantization } from '@skein/agent/model/graph-passes.ts';
import { encodeGraph } from '@skein/agent/model/graph-schema.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { bytesOf, CASES } from './graphs.ts';

const varint = (value: number): number[] => {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
};
const field = (id: number, content: Uint8Array): Uint8Array =>
  Uint8Array.from([...varint((id << 3) | 2), ...varint(content.length), ...content]);
const large = (id: number, content: Uint8Array): Uint8Array => {
  const head = [...varint((id << 3) | 2), ...varint(content.length)];
  const whole = new Uint8Array(head.length + content.length);
  whole.set(head);
  whole.set(content, head.length);
  return whole;
};

/** Loads and prepares; what is refused must be refused as such. */
function survive(bytes: Uint8Array, message: string): void {
  try {
    prepareForQuantization(loadGraph(bytes));
  } catch (error) {
    expect(error, message).toMatchObject({ code: 'MODEL_INVALID' });
  }
}
const refused = (bytes: Uint8Array) =>
  expect(() => loadGraph(bytes)).toThrow(expect.objectContaining({ code: 'MODEL_INVALID' }));

describe('the ONNX reader', () => {
  const seed = 77;

  it.each(Object.keys(CASES) as (keyof typeof CASES)[])('survives damage to the %s graph', (name) => {
    const whole = Uint8Array.from(bytesOf(CASES[name](1))); // of a Buffer, `slice` would be a view
    const uniform = seededUniform(seed);
    const at = (length: number) => Math.floor(uniform() * length);
    for (let round = 0; round < 250; round++) {
      const damaged = whole.slice(0, round % 3 === 0 ? at(whole.length) : whole.length);
      const flips = 1 + at(8);
      for (let i = 0; i < flips && damaged.length > 0; i++) {
        damaged[at(damaged.length)] = round % 2 ? at(256) : [0, 1, 127, 128, 255][at(5)]!;
      }
      survive(damaged, `seed ${seed}, round ${round}`);
    }
  });

  it('refuses lengths that lead beyond the file, before it allocates', () => {
    const head = [0x3a, ...varint(2 ** 31), 0x0a];
    refused(Uint8Array.from(head));
    refused(Uint8Array.from([0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]));
    refused(Uint8Array.from(new Array(64).fill(0xff)));
  });

  it('refuses subgraphs in subgraphs in subgraphs', () => {
    let graph: GraphProto = {
      name: 'g',
      node: [nodeOf('Relu', ['x'], ['y'])],
      initializer: [],
      input: [],
      output: [],
      valueInfo: [],
    };
    for (let depth = 0; depth < 200; depth++) {
      const branch = { name: 'then_branch', type: 5, g: encodeGraph(graph) };
      graph = { ...graph, node: [nodeOf('If', ['c'], ['y'], [branch])] };
    }
    expect(() => loadGraph(saveGraph({ irVersion: 8, opsetImport: [], graph }))).toThrow(/nest more than/);
  });

  it('refuses messages that nest without end', () => {
    let type: Uint8Array = new Uint8Array();
    for (let depth = 0; depth < 20_000; depth++)
      type = large(4, large(1, type.length > 60_000 ? new Uint8Array() : type));
    const graph = field(7, large(11, large(2, type)));
    survive(graph, 'nested types');
  });

  it('refuses millions of tiny messages in little time and memory', () => {
    const many = new Uint8Array(6_000_000);
    for (let i = 0; i < many.length; i += 2) many[i] = 0x0a;
    const before = process.memoryUsage().rss;
    const started = performance.now();
    refused(large(7, many));
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
  });

  it('refuses a flood of packed integers, which would each become an object', () => {
    const flood = large(7, large(5, large(7, new Uint8Array(40 * 2 ** 20))));
    expect(() => loadGraph(flood)).toThrow(/packed integers/);
  });

  it('takes a weight that claims two billion values for what it holds', () => {
    const model = CASES.separable(1).model;
    model.graph.initializer.find(({ name }) => name === 'c1_w')!.dims = [2 ** 31, 3, 3, 3];
    expect(() => prepareForQuantization(loadGraph(saveGraph(model)))).toThrow(/c1_w.*values, its shape/);
    model.graph.initializer.find(({ name }) => name === 'c1_w')!.dims = [-1, -16, 3, 9];
    expect(() => prepareForQuantization(loadGraph(saveGraph(model)))).toThrow(
      expect.objectContaining({ code: 'MODEL_INVALID' }),
    );
  });

  it('keeps fields that it does not know, wherever they stand', () => {
    const unknown = field(99, new TextEncoder().encode('from the future'));
    const device = field(10, field(1, new TextEncoder().encode('gpu-0')));
    const node = new Uint8Array([
      ...field(1, enc('x')),
      ...field(2, enc('y')),
      ...field(4, enc('Relu')),
      ...device,
    ]);
    const graph = new Uint8Array([...field(1, node), ...field(2, enc('g')), ...unknown]);
    const bytes = new Uint8Array([0x08, 8, ...field(7, graph), ...field(20, field(1, enc(''))), ...unknown]);
    const again = saveGraph(loadGraph(saveGraph(loadGraph(bytes))));
    const shown = new TextDecoder('latin1').decode(again);
    expect(shown.split('from the future')).toHaveLength(3);
    expect(shown).toContain('gpu-0');
    expect(again).toHaveLength(bytes.length);
  });
});

const enc = (text: string): Uint8Array => new TextEncoder().encode(text);
