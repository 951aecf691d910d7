/**
 * The messages of `inference.GRPCInferenceService` and `grpc.health.v1.Health` as protobufjs descriptors. Names and field
 * numbers are those of the Open Inference Protocol's and Triton's grpc_service.proto and model_config.proto; of the
 * configuration only what this server says is declared, the rest is absent to its readers.
 *
 * `contents` is declared `bytes`, which has the same wire form: how many values it may hold is known only when its
 * tensor is, see grpc-contents.ts.
 */
import type Long from 'long';
import protobuf from 'protobufjs/light.js';

type Int64 = number | Long;

export interface InferParameter {
  bool_param?: boolean;
  int64_param?: Int64;
}
export interface InferInput {
  name: string;
  datatype: string;
  shape: Int64[];
  parameters: Record<string, InferParameter>;
  /** InferTensorContents. */
  contents: Uint8Array;
}
export interface InferRequest {
  model_name: string;
  model_version: string;
  id: string;
  parameters: Record<string, InferParameter>;
  inputs: InferInput[];
  outputs: { name: string; parameters: Record<string, InferParameter> }[];
  raw_input_contents: Uint8Array[];
}
export interface InferResponse {
  model_name: string;
  model_version: string;
  id: string;
  parameters: Record<string, InferParameter>;
  outputs: { name: string; datatype: string; shape: readonly number[] }[];
  raw_output_contents: Uint8Array[];
}
/** What most requests are. */
export interface NamedRequest {
  name: string;
  version: string;
}

type Fields = Record<string, protobuf.IField>;
const one = (id: number, type: string) => ({ id, type });
const many = (id: number, type: string) => ({ id, type, rule: 'repeated' });
const packed = (id: number, type: string) => ({ ...many(id, type), options: { packed: true } });
const map = (id: number, type: string) => ({ id, type, keyType: 'string' });
const message = (fields: Fields = {}) => ({ fields });
const choice = (fields: Fields) => ({
  fields,
  oneofs: { parameter_choice: { oneof: Object.keys(fields) } },
});
const named = message({ name: one(1, 'string'), version: one(2, 'string') });
const tensor = {
  name: one(1, 'string'),
  datatype: one(2, 'string'),
  shape: packed(3, 'int64'),
};
const inferTensor = message({ ...tensor, parameters: map(4, 'InferParameter'), contents: one(5, 'bytes') });
const modelOrder = message({
  repository_name: one(1, 'string'),
  model_name: one(2, 'string'),
});

const inference = {
  ServerLiveRequest: message(),
  ServerLiveResponse: message({ live: one(1, 'bool') }),
  ServerReadyRequest: message(),
  ServerReadyResponse: message({ ready: one(1, 'bool') }),
  ModelReadyRequest: named,
  ModelReadyResponse: message({ ready: one(1, 'bool') }),
  ServerMetadataRequest: message(),
  ServerMetadataResponse: message({
    name: one(1, 'string'),
    version: one(2, 'string'),
    extensions: many(3, 'string'),
  }),
  ModelMetadataRequest: named,
  TensorMetadata: message(tensor),
  ModelMetadataResponse: message({
    name: one(1, 'string'),
    versions: many(2, 'string'),
    platform: one(3, 'string'),
    inputs: many(4, 'TensorMetadata'),
    outputs: many(5, 'TensorMetadata'),
  }),
  InferParameter: choice({
    bool_param: one(1, 'bool'),
    int64_param: one(2, 'int64'),
    string_param: one(3, 'string'),
    double_param: one(4, 'double'),
    uint64_param: one(5, 'uint64'),
  }),
  InferInputTensor: inferTensor,
  InferRequestedOutputTensor: message({ name: one(1, 'string'), parameters: map(2, 'InferParameter') }),
  ModelInferRequest: message({
    model_name: one(1, 'string'),
    model_version: one(2, 'string'),
    id: one(3, 'string'),
    parameters: map(4, 'InferParameter'),
    inputs: many(5, 'InferInputTensor'),
    outputs: many(6, 'InferRequestedOutputTensor'),
    raw_input_contents: many(7, 'bytes'),
  }),
  InferOutputTensor: inferTensor,
  ModelInferResponse: message({
    model_name: one(1, 'string'),
    model_version: one(2, 'string'),
    id: one(3, 'string'),
    parameters: map(4, 'InferParameter'),
    outputs: many(5, 'InferOutputTensor'),
    raw_output_contents: many(6, 'bytes'),
  }),
  ModelStreamInferResponse: message({
    error_message: one(1, 'string'),
    infer_response: one(2, 'ModelInferResponse'),
  }),
  ModelConfigRequest: named,
  ModelConfigResponse: message({ config: one(1, 'ModelConfig') }),
  ModelStatisticsRequest: named,
  StatisticDuration: message({ count: one(1, 'uint64'), ns: one(2, 'uint64') }),
  InferStatistics: message({
    success: one(1, 'StatisticDuration'),
    fail: one(2, 'StatisticDuration'),
    queue: one(3, 'StatisticDuration'),
    compute_input: one(4, 'StatisticDuration'),
    compute_infer: one(5, 'StatisticDuration'),
    compute_output: one(6, 'StatisticDuration'),
    cache_hit: one(7, 'StatisticDuration'),
    cache_miss: one(8, 'StatisticDuration'),
  }),
  InferBatchStatistics: message({
    batch_size: one(1, 'uint64'),
    compute_input: one(2, 'StatisticDuration'),
    compute_infer: one(3, 'StatisticDuration'),
    compute_output: one(4, 'StatisticDuration'),
  }),
  ModelStatistics: message({
    name: one(1, 'string'),
    version: one(2, 'string'),
    last_inference: one(3, 'uint64'),
    inference_count: one(4, 'uint64'),
    execution_count: one(5, 'uint64'),
    inference_stats: one(6, 'InferStatistics'),
    batch_stats: many(7, 'InferBatchStatistics'),
  }),
  ModelStatisticsResponse: message({ model_stats: many(1, 'ModelStatistics') }),
  RepositoryIndexRequest: message({ repository_name: one(1, 'string'), ready: one(2, 'bool') }),
  ModelIndex: message({
    name: one(1, 'string'),
    version: one(2, 'string'),
    state: one(3, 'string'),
    reason: one(4, 'string'),
  }),
  RepositoryIndexResponse: message({ models: many(1, 'ModelIndex') }),
  RepositoryModelLoadRequest: modelOrder,
  RepositoryModelUnloadRequest: modelOrder,
};

const configuration = {
  DataType: {
    values: {
      TYPE_INVALID: 0,
      TYPE_BOOL: 1,
      TYPE_UINT8: 2,
      TYPE_INT8: 6,
      TYPE_INT32: 8,
      TYPE_INT64: 9,
      TYPE_FP16: 10,
      TYPE_FP32: 11,
      TYPE_FP64: 12,
    },
  },
  InstanceKind: { values: { KIND_AUTO: 0, KIND_GPU: 1, KIND_CPU: 2, KIND_MODEL: 3 } },
  ModelInstanceGroup: message({
    name: one(1, 'string'),
    count: one(2, 'int32'),
    kind: one(4, 'InstanceKind'),
  }),
  ModelInput: message({ name: one(1, 'string'), data_type: one(2, 'DataType'), dims: packed(4, 'int64') }),
  ModelOutput: message({ name: one(1, 'string'), data_type: one(2, 'DataType'), dims: packed(3, 'int64') }),
  LatestVersions: message({ num_versions: one(1, 'uint32') }),
  ModelVersionPolicy: message({ latest: one(1, 'LatestVersions') }),
  ModelDynamicBatching: message({
    preferred_batch_size: packed(1, 'int32'),
    max_queue_delay_microseconds: one(2, 'uint64'),
    preserve_ordering: one(3, 'bool'),
  }),
  ModelParameter: message({ string_value: one(1, 'string') }),
  ModelConfig: message({
    name: one(1, 'string'),
    platform: one(2, 'string'),
    version_policy: one(3, 'ModelVersionPolicy'),
    max_batch_size: one(4, 'int32'),
    input: many(5, 'ModelInput'),
    output: many(6, 'ModelOutput'),
    instance_group: many(7, 'ModelInstanceGroup'),
    default_model_filename: one(8, 'string'),
    dynamic_batching: one(11, 'ModelDynamicBatching'),
    parameters: map(14, 'ModelParameter'),
    backend: one(17, 'string'),
  }),
};

const health = {
  ServingStatus: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } },
  HealthCheckRequest: message({ service: one(1, 'string') }),
  HealthCheckResponse: message({ status: one(1, 'ServingStatus') }),
};

export type MessageName = keyof typeof inference | keyof typeof health;

const root = protobuf.Root.fromJSON({ nested: { ...inference, ...configuration, ...health } });

/** @throws Error for bytes that are not this message */
export const decode = <T>(name: MessageName, bytes: Uint8Array): T =>
  root.lookupType(name).decode(bytes) as unknown as T;

/** @param value enumerations by name; the message is not checked beyond that. */
export function encode(name: MessageName, value: object): Uint8Array {
  const type = root.lookupType(name);
  return type.encode(type.fromObject(value)).finish();
}

/** As {@link encode} without a copy of it: the value has no enumerations, and its bytes are written as they are. */
export const encodePlain = (name: MessageName, value: object): Uint8Array =>
  root.lookupType(name).encode(value).finish();
