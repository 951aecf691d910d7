/** Small real ONNX models made on the spot. */
import type { Tensor } from '@skein/agent/inference/backend.ts';
import {
  DATA_TYPE,
  floatTensor,
  floatValue,
  intAttribute,
  modelOf,
  type NodeProto,
  nodeOf,
  saveGraph,
  type TensorProto,
  valueInfo,
} from '@skein/agent/model/graph.ts';

/** y = x · factor; x is [N, width]. A factor of NaN makes a model that gives NaN. */
export const scaleModel = (width: number, factor: number): Uint8Array =>
  saveGraph(
    modelOf({
      name: 'scale',
      node: [nodeOf('Mul', ['x', 'factor'], ['y'])],
      initializer: [floatTensor('factor', [1], Float32Array.of(factor))],
      input: [floatValue('x', [-1, width])],
      output: [floatValue('y', [-1, width])],
      valueInfo: [],
    }),
  );

const ONNX_NAMES: Partial<Record<Tensor['type'], keyof typeof DATA_TYPE>> = {
  float32: 'float',
  float64: 'double',
};

/** y = x, of any type; x is [N, width]. */
export const sameModel = (type: Tensor['type'], width: number): Uint8Array => {
  const known = ONNX_NAMES[type] ?? type;
  return saveGraph(
    modelOf({
      ...{ name: 'same', initializer: [], valueInfo: [] },
      node: [nodeOf('Identity', ['x'], ['y'])],
      input: [valueInfo('x', DATA_TYPE[known as keyof typeof DATA_TYPE], [-1, width])],
      output: [valueInfo('y', DATA_TYPE[known as keyof typeof DATA_TYPE], [-1, width])],
    }),
  );
};

const graphOf = (node: NodeProto[], initializer: TensorProto[], rows = -1): Uint8Array =>
  saveGraph(
    modelOf({
      ...{ name: 'batch', node, initializer, valueInfo: [] },
      input: [floatValue('x', [rows, 4])],
      output: [floatValue('y', [rows, 4])],
    }),
  );
const int64Tensor = (name: string, values: number[]): TensorProto => ({
  name,
  dims: [values.length],
  dataType: DATA_TYPE.int64,
  rawData: new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer),
});

/** x and y are [N, 4], or say so; only the rows' independence is broken. */
export const batchModels = {
  fixed: () => graphOf([nodeOf('Neg', ['x'], ['y'])], [], 1),
  /** The shape depends on the values, as far as shape inference can see: else it would tell. */
  baked: () =>
    graphOf(
      [
        nodeOf('Mul', ['x', 'nothing'], ['none']),
        nodeOf('ReduceMax', ['none'], ['zero'], [intAttribute('keepdims', 0)]),
        nodeOf('Cast', ['zero'], ['offset'], [intAttribute('to', DATA_TYPE.int64)]),
        nodeOf('Add', ['one-row', 'offset'], ['shape']),
        nodeOf('Reshape', ['x', 'shape'], ['y']),
      ],
      [floatTensor('nothing', [1], Float32Array.of(0)), int64Tensor('one-row', [1, 4])],
    ),
  meanOfBatch: () =>
    graphOf(
      [
        nodeOf('ReduceMean', ['x'], ['mean'], [{ name: 'axes', type: 7, ints: [0] }]),
        nodeOf('Sub', ['x', 'mean'], ['y']),
      ],
      [],
    ),
  dynamicRange: () =>
    graphOf(
      [
        nodeOf('DynamicQuantizeLinear', ['x'], ['q', 'scale', 'zero']),
        nodeOf('DequantizeLinear', ['q', 'scale', 'zero'], ['y']),
      ],
      [],
    ),
  unknownOp: () => graphOf([nodeOf('NoSuchOperation', ['x'], ['y'])], []),
  /** On its way to y it would hold 2^40 rows. */
  endless: () =>
    graphOf(
      [
        nodeOf('Expand', ['x', 'shape'], ['all']),
        nodeOf('ReduceMax', ['all'], ['y'], [{ name: 'axes', type: 7, ints: [0] }]),
      ],
      [int64Tensor('shape', [2 ** 40, 4])],
    ),
};
