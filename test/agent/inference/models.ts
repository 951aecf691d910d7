/** Small real ONNX models made on the spot. */
import { floatTensor, floatValue, modelOf, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';

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
