/** What is folded computes the same, and only what is safe is folded. */
import {
  floatTensor,
  floatValue,
  type GraphProto,
  intAttribute,
  loadGraph,
  modelOf,
  nodeOf,
  saveGraph,
} from '@skein/agent/model/graph.ts';
import { prepareForQuantization } from '@skein/agent/model/graph-passes.ts';
import { encodeGraph } from '@skein/agent/model/graph-schema.ts';
import { compareWith, runAll } from '@skein/agent/model/onnx-model.ts';
import { describe, expect, it } from 'vitest';
import { Build, bytesOf, CASES, normal, samplesOf } from './graphs.ts';

const operators = ({ graph }: { graph: GraphProto }) => graph.node.map(({ opType }) => opType);

/** x → Conv → one operator with a constant. */
function followed(opType: string, dims: number[], swapped = false) {
  const b = new Build(4);
  b.conv('x', 'c', [2, 3, 3]);
  const count = dims.reduce((product, dim) => product * dim, 1);
  b.weights.push(
    floatTensor(
      'k',
      dims,
      normal(b.uniform, count).map((v) => v + 2),
    ),
  );
  b.node(opType, swapped ? ['k', 'c'] : ['c', 'k'], 'y');
  const model = b.model([floatValue('x', [1, 2, 5, 5])], [floatValue('y', [1, 3, 5, 5])]);
  return { model, sample: (uniform: () => number) => CASE_INPUT(uniform) };
}
const CASE_INPUT = (uniform: () => number) => ({
  x: { type: 'float32' as const, dims: [1, 2, 5, 5], data: normal(uniform, 50) },
});

async function prepared(bytes: Uint8Array, samples: ReturnType<typeof samplesOf>) {
  const model = loadGraph(bytes);
  prepareForQuantization(model);
  const { sqnrDb } = await compareWith(await runAll(bytes, samples), saveGraph(model), samples);
  return { model, sqnrDb };
}

describe('folding', () => {
  it.each(Object.entries(CASES))('keeps what the %s graph computes', async (_name, make) => {
    const example = make(21);
    const { sqnrDb } = await prepared(bytesOf(example), samplesOf(example, 5, 22));
    expect(sqnrDb).toBeGreaterThan(110);
  });

  it.each([
    ['Add', [3, 1, 1], false],
    ['Add', [1, 3, 1, 1], true],
    ['Sub', [3, 1, 1], false],
    ['Mul', [3, 1, 1], true],
    ['Div', [3, 1, 1], false],
    ['Mul', [], false],
    ['Add', [1], false],
  ] as const)('takes %s of a constant %j into the convolution', async (opType, dims, swapped) => {
    const example = followed(opType, [...dims], swapped);
    const { model, sqnrDb } = await prepared(bytesOf(example), samplesOf(example, 3, 1));
    expect(operators(model)).toEqual(['Conv']);
    expect(sqnrDb).toBeGreaterThan(110);
  });

  it.each([
    ['a value for each column', 'Add', [5], false],
    ['a constant less the result', 'Sub', [3, 1, 1], true],
    ['a constant over the result', 'Div', [3, 1, 1], true],
  ] as const)('leaves %s alone', async (_what, opType, dims, swapped) => {
    const example = followed(opType, [...dims], swapped);
    const { model, sqnrDb } = await prepared(bytesOf(example), samplesOf(example, 3, 1));
    expect(operators(model)).toEqual(['Conv', opType]);
    expect(sqnrDb).toBeGreaterThan(110);
  });

  it('leaves a convolution alone whose own result is wanted too', async () => {
    const example = followed('Mul', [3, 1, 1]);
    example.model.graph.output.push(floatValue('c', [1, 3, 5, 5]));
    const { model } = await prepared(bytesOf(example), samplesOf(example, 2, 1));
    expect(operators(model)).toEqual(['Conv', 'Mul']);
  });

  it('keeps names that a subgraph reads from outside', () => {
    const inner: GraphProto = {
      name: 'then',
      node: [nodeOf('Add', ['copy', 'weight'], ['r'])],
      initializer: [],
      input: [],
      output: [floatValue('r', [2])],
      valueInfo: [],
    };
    const branch = { name: 'then_branch', type: 5, g: encodeGraph(inner) };
    const model = modelOf({
      name: 'outer',
      node: [
        nodeOf('Identity', ['x'], ['copy']),
        nodeOf('If', ['flag'], ['y'], [branch, { ...branch, name: 'else_branch' }]),
      ],
      initializer: [
        floatTensor('weight', [2], Float32Array.of(1, 2)),
        floatTensor('left', [1], Float32Array.of(1)),
      ],
      input: [floatValue('x', [2]), { name: 'flag', type: { tensorType: { elemType: 9 } } }],
      output: [floatValue('y', [2])],
      valueInfo: [],
    });
    const again = loadGraph(saveGraph(model));
    prepareForQuantization(again);
    expect(operators(again)).toEqual(['Identity', 'If']);
    expect(again.graph.initializer.map(({ name }) => name)).toEqual(['weight']);
  });

  it('does not fold a normalisation that still learns', async () => {
    const b = new Build(4);
    b.conv('x', 'c', [2, 3, 3]);
    b.norm('c', 'y', 3);
    b.nodes.at(-1)!.attribute.push(intAttribute('training_mode', 1));
    b.nodes.at(-1)!.output = ['y', 'mean', 'variance'];
    const model = loadGraph(
      saveGraph(b.model([floatValue('x', [1, 2, 5, 5])], [floatValue('y', [1, 3, 5, 5])])),
    );
    prepareForQuantization(model);
    expect(operators(model)).toEqual(['Conv', 'BatchNormalization']);
  });
});
