import {
  dimsOf,
  floatsOf,
  floatTensor,
  floatValue,
  intAttribute,
  loadGraph,
  modelOf,
  nodeOf,
  opsetOf,
  saveGraph,
  sortNodes,
  toNumber,
} from '@skein/agent/model/graph.ts';
import { raiseOpset } from '@skein/agent/model/opset-raise.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { describe, expect, it } from 'vitest';
import { scaleModel } from '../inference/models.ts';

const chain = (order: string[][]) => ({
  name: 'g',
  node: order.map(([from, to]) => nodeOf('Relu', [from!], [to!])),
  initializer: [],
  input: [floatValue('a', [1])],
  output: [floatValue('d', [1])],
  valueInfo: [],
});

describe('ONNX files', () => {
  it('survive a round trip with names, shapes, weights and opset', () => {
    const model = loadGraph(saveGraph(loadGraph(scaleModel(3, 2.5))));
    expect(opsetOf(model)).toBe(17);
    expect(model.graph.node[0]).toMatchObject({ opType: 'Mul', input: ['x', 'factor'], output: ['y'] });
    expect([...floatsOf(model.graph.initializer[0]!)]).toEqual([2.5]);
    expect(
      model.graph.input[0]!.type!.tensorType!.shape!.dim.map((d) => d.dimParam || toNumber(d.dimValue)),
    ).toEqual(['N', 3]);
  });

  it('keep 64-bit attributes that a double can not hold', () => {
    const model = loadGraph(scaleModel(1, 1));
    model.graph.node[0]!.attribute.push(intAttribute('ends', 0));
    const max = loadGraph(saveGraph(model)).graph.node[0]!.attribute[0]!.i! as {
      constructor: { MAX_VALUE?: unknown };
    };
    const longest = (max.constructor as { MAX_VALUE?: { toString(): string } }).MAX_VALUE!;
    model.graph.node[0]!.attribute[0]!.i = longest as never;
    const again = loadGraph(saveGraph(loadGraph(saveGraph(model))));
    expect(String(again.graph.node[0]!.attribute[0]!.i)).toBe('9223372036854775807');
  });

  it('are sorted so that every input is made before it is used', () => {
    const sorted = sortNodes(
      chain([
        ['c', 'd'],
        ['a', 'b'],
        ['b', 'c'],
      ]),
    );
    expect(sorted.map((node) => node.output[0])).toEqual(['b', 'c', 'd']);
  });

  it('with a cycle are refused', () => {
    expect(() =>
      sortNodes(
        chain([
          ['a', 'b'],
          ['d', 'c'],
          ['c', 'd'],
        ]),
      ),
    ).toThrow(/cycle/);
  });

  it.each([
    ['text', new TextEncoder().encode('not a model')],
    ['nothing', new Uint8Array(0)],
    ['a truncated model', scaleModel(3, 2).subarray(0, 30)],
  ])('that are %s are refused', (_what, bytes) => {
    expect(() => loadGraph(bytes)).toThrow(expect.objectContaining({ code: 'MODEL_INVALID' }));
  });

  it('with any single byte changed load or are refused, and never crash', () => {
    const bytes = scaleModel(3, 2);
    const seed = 7;
    const uniform = seededUniform(seed);
    for (let i = 0; i < 2000; i++) {
      const damaged = Uint8Array.from(bytes);
      damaged[Math.floor(uniform() * bytes.length)] = Math.floor(uniform() * 256);
      try {
        loadGraph(damaged);
      } catch (error) {
        expect(error, `seed ${seed}, round ${i}`).toMatchObject({ code: 'MODEL_INVALID' });
      }
    }
  });

  it('whose weights are elsewhere are refused', () => {
    const model = loadGraph(scaleModel(3, 2));
    model.graph.initializer[0]!.dataLocation = 1;
    expect(() => loadGraph(saveGraph(model))).toThrow(/in another file/);
  });

  it('say the type and size of a weight that is not what it should be', () => {
    const tensor = floatTensor('w', [3], Float32Array.of(1, 2));
    expect(() => floatsOf(tensor)).toThrow(/`w` has 2 values, its shape 3/);
    expect(dimsOf(tensor)).toEqual([3]);
  });
});

describe('an old operator set', () => {
  it('is raised where nothing changed in between', () => {
    const model = modelOf(chain([['a', 'd']]), 8);
    raiseOpset(model);
    expect(opsetOf(model)).toBe(13);
  });

  it('is refused with the operator that stands in the way', () => {
    const model = modelOf(chain([['a', 'd']]), 9);
    model.graph.node[0]!.opType = 'TfIdfVectorizer';
    expect(() => raiseOpset(model)).toThrow(/opset 9, int8 needs 13: `TfIdfVectorizer` changed/);
  });
});
