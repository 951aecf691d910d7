import { modelConfig, modelMetadata, modelStatistics, repositoryIndex } from '@skein/agent/api/oip-models.ts';
import type { CurrentModel } from '@skein/agent/inference/engine.ts';
import { ModelStatistics } from '@skein/agent/inference/statistics.ts';
import { describe, expect, it } from 'vitest';

const model = (change: Record<string, unknown> = {}, variant: Record<string, unknown> = {}): CurrentModel =>
  ({
    manifest: { name: 'gas', version: '1.2.0' },
    manifestSha256: 'a'.repeat(64),
    variant: { id: 'u8s8', precision: 'int8', backend: 'onnxruntime', ...variant },
    maxBatch: 32,
    ...change,
    loaded: {
      sha256: 'b'.repeat(64),
      provider: 'cpu',
      placement: 'inline',
      reason: 'tiny',
      inputs: [{ name: 'x', type: 'float32', shape: [-1, 128] }],
      outputs: [{ name: 'label', type: 'int64', shape: [-1] }],
      ...(change.loaded as object),
    },
  }) as unknown as CurrentModel;

describe('models in the words of the Open Inference Protocol', () => {
  it('names tensors with the batch dimension in the metadata', () => {
    expect(modelMetadata(model())).toEqual({
      name: 'gas',
      versions: ['1.2.0'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 128] }],
      outputs: [{ name: 'label', datatype: 'INT64', shape: [-1] }],
    });
  });

  it('leaves the batch dimension out of the configuration of a model that is batched', () => {
    expect(modelConfig(model())).toMatchObject({
      max_batch_size: 32,
      input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [128] }],
      output: [{ name: 'label', data_type: 'TYPE_INT64', dims: [] }],
      dynamic_batching: { max_queue_delay_microseconds: 0 },
      instance_group: [{ kind: 'KIND_CPU', count: 1 }],
      parameters: { sha256: { string_value: 'b'.repeat(64) }, precision: { string_value: 'int8' } },
    });
  });

  it('keeps every dimension of a model whose requests run alone', () => {
    const config = modelConfig(model({ maxBatch: 1 }));
    expect(config).toMatchObject({ max_batch_size: 0, input: [{ dims: [-1, 128] }] });
    expect(config).not.toHaveProperty('dynamic_batching');
  });

  it('names backend and platform as Triton does', () => {
    const plan = model({ loaded: { provider: 'tensorrt' } }, { backend: 'tensorrt', format: 'plan' });
    expect(modelConfig(plan)).toMatchObject({
      backend: 'tensorrt',
      platform: 'tensorrt_plan',
      default_model_filename: 'model.plan',
      instance_group: [{ kind: 'KIND_GPU' }],
    });
    expect(modelConfig(model({}, { backend: 'onnx' })).backend).toBe('onnxruntime');
  });

  it('puts name and version before the statistics', () => {
    const statistics = new ModelStatistics().snapshot();
    expect(modelStatistics(model(), statistics)).toEqual({ name: 'gas', version: '1.2.0', ...statistics });
  });

  it('lists what is loaded, and why one of it is not ready', () => {
    expect(repositoryIndex([model()])).toEqual([
      { name: 'gas', version: '1.2.0', state: 'READY', reason: '' },
    ]);
    expect(repositoryIndex([model()], () => false)).toMatchObject([
      { state: 'UNAVAILABLE', reason: expect.stringContaining('golden') },
    ]);
  });
});
