/**
 * The messages of onnx.proto (ONNX 1.19, IR 12) as a protobufjs descriptor. What this project never looks into is
 * declared `bytes`: an embedded message has the same wire form, so it passes through unchanged. Fields that newer
 * versions add are kept as they came (`$unknowns`, not enumerable: a spread copy of a message loses them).
 * 64-bit integers stay as the library reads them (Long), so INT64_MAX in a Slice survives a round trip.
 */
import type Long from 'long';
import protobuf from 'protobufjs/light.js';

export type Int64 = number | Long;

export interface TensorProto {
  dims: Int64[];
  dataType: number;
  floatData?: number[];
  int32Data?: number[];
  int64Data?: Int64[];
  doubleData?: number[];
  uint64Data?: Int64[];
  name: string;
  rawData?: Uint8Array;
  externalData?: Uint8Array[];
  dataLocation?: number;
}
export interface AttributeProto {
  name: string;
  type: number;
  f?: number;
  i?: Int64;
  s?: Uint8Array;
  t?: TensorProto;
  g?: Uint8Array;
  floats?: number[];
  tensors?: Uint8Array[];
  ints?: Int64[];
  graphs?: Uint8Array[];
}
export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  attribute: AttributeProto[];
  domain?: string;
}
export interface Dimension {
  dimValue?: Int64;
  dimParam?: string;
}
export interface ValueInfoProto {
  name: string;
  type?: { tensorType?: { elemType: number; shape?: { dim: Dimension[] } } };
}
export interface GraphProto {
  node: NodeProto[];
  name: string;
  initializer: TensorProto[];
  sparseInitializer?: Uint8Array[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  valueInfo: ValueInfoProto[];
  quantizationAnnotation?: Uint8Array[];
}
export interface ModelProto {
  irVersion: Int64;
  opsetImport: { domain: string; version: Int64 }[];
  producerName?: string;
  producerVersion?: string;
  graph: GraphProto;
  trainingInfo?: Uint8Array[];
  functions?: Uint8Array[];
  metadataProps?: { key: string; value: string }[];
}

type FieldType = string;
const one = (id: number, type: FieldType) => ({ id, type });
const many = (id: number, type: FieldType) => ({ id, type, rule: 'repeated', options: { packed: false } });
const packed = (id: number, type: FieldType) => ({ id, type, rule: 'repeated', options: { packed: true } });

const root = protobuf.Root.fromJSON({
  nested: {
    TensorProto: {
      fields: {
        dims: packed(1, 'int64'),
        dataType: one(2, 'int32'),
        segment: one(3, 'bytes'),
        floatData: packed(4, 'float'),
        int32Data: packed(5, 'int32'),
        stringData: many(6, 'bytes'),
        int64Data: packed(7, 'int64'),
        name: one(8, 'string'),
        rawData: one(9, 'bytes'),
        doubleData: packed(10, 'double'),
        uint64Data: packed(11, 'uint64'),
        docString: one(12, 'string'),
        externalData: many(13, 'bytes'),
        dataLocation: one(14, 'int32'),
        metadataProps: many(16, 'bytes'),
      },
    },
    SparseTensorProto: {
      fields: { values: one(1, 'TensorProto'), indices: one(2, 'bytes'), dims: packed(3, 'int64') },
    },
    AttributeProto: {
      fields: {
        name: one(1, 'string'),
        f: one(2, 'float'),
        i: one(3, 'int64'),
        s: one(4, 'bytes'),
        t: one(5, 'TensorProto'),
        g: one(6, 'bytes'),
        floats: packed(7, 'float'),
        ints: packed(8, 'int64'),
        strings: many(9, 'bytes'),
        tensors: many(10, 'bytes'),
        graphs: many(11, 'bytes'),
        docString: one(13, 'string'),
        tp: one(14, 'bytes'),
        typeProtos: many(15, 'bytes'),
        type: one(20, 'int32'),
        refAttrName: one(21, 'string'),
        sparseTensor: one(22, 'bytes'),
        sparseTensors: many(23, 'bytes'),
      },
    },
    NodeProto: {
      fields: {
        input: many(1, 'string'),
        output: many(2, 'string'),
        name: one(3, 'string'),
        opType: one(4, 'string'),
        attribute: many(5, 'AttributeProto'),
        docString: one(6, 'string'),
        domain: one(7, 'string'),
        overload: one(8, 'string'),
        metadataProps: many(9, 'bytes'),
        deviceConfigurations: many(10, 'bytes'),
      },
    },
    Dimension: {
      oneofs: { value: { oneof: ['dimValue', 'dimParam'] } },
      fields: { dimValue: one(1, 'int64'), dimParam: one(2, 'string'), denotation: one(3, 'string') },
    },
    TensorShape: { fields: { dim: many(1, 'Dimension') } },
    TensorType: { fields: { elemType: one(1, 'int32'), shape: one(2, 'TensorShape') } },
    TypeProto: {
      oneofs: {
        value: {
          oneof: ['tensorType', 'sequenceType', 'mapType', 'opaqueType', 'sparseType', 'optionalType'],
        },
      },
      fields: {
        tensorType: one(1, 'TensorType'),
        sequenceType: one(4, 'bytes'),
        mapType: one(5, 'bytes'),
        denotation: one(6, 'string'),
        opaqueType: one(7, 'bytes'),
        sparseType: one(8, 'bytes'),
        optionalType: one(9, 'bytes'),
      },
    },
    ValueInfoProto: {
      fields: {
        name: one(1, 'string'),
        type: one(2, 'TypeProto'),
        docString: one(3, 'string'),
        metadataProps: many(4, 'bytes'),
      },
    },
    GraphProto: {
      fields: {
        node: many(1, 'NodeProto'),
        name: one(2, 'string'),
        initializer: many(5, 'TensorProto'),
        docString: one(10, 'string'),
        input: many(11, 'ValueInfoProto'),
        output: many(12, 'ValueInfoProto'),
        valueInfo: many(13, 'ValueInfoProto'),
        quantizationAnnotation: many(14, 'bytes'),
        sparseInitializer: many(15, 'bytes'),
        metadataProps: many(16, 'bytes'),
      },
    },
    OperatorSetId: { fields: { domain: one(1, 'string'), version: one(2, 'int64') } },
    StringStringEntry: { fields: { key: one(1, 'string'), value: one(2, 'string') } },
    ModelProto: {
      fields: {
        irVersion: one(1, 'int64'),
        producerName: one(2, 'string'),
        producerVersion: one(3, 'string'),
        domain: one(4, 'string'),
        modelVersion: one(5, 'int64'),
        docString: one(6, 'string'),
        graph: one(7, 'GraphProto'),
        opsetImport: many(8, 'OperatorSetId'),
        metadataProps: many(14, 'StringStringEntry'),
        trainingInfo: many(20, 'bytes'),
        functions: many(25, 'bytes'),
        configuration: many(26, 'bytes'),
      },
    },
  },
});

const modelType = root.lookupType('ModelProto');
const graphType = root.lookupType('GraphProto');
const sparseType = root.lookupType('SparseTensorProto');

/** protobufjs drops fields that it does not know unless each reader is told otherwise. */
function readerOf(bytes: Uint8Array): protobuf.Reader {
  const reader = protobuf.Reader.create(bytes);
  reader.discardUnknown = false;
  return reader;
}

/** @throws Error when the bytes are not a protobuf message of this shape */
export const decodeModel = (bytes: Uint8Array): ModelProto =>
  modelType.decode(readerOf(bytes)) as unknown as ModelProto;

/** A subgraph as If, Loop and Scan hold it in an attribute. @throws Error */
export const decodeGraph = (bytes: Uint8Array): GraphProto =>
  graphType.decode(readerOf(bytes)) as unknown as GraphProto;

export const encodeGraph = (graph: GraphProto): Uint8Array =>
  graphType.encode(graph as unknown as Record<string, unknown>).finish();

/** Its values are a tensor whose name is the initializer's. @throws Error */
export const decodeSparse = (bytes: Uint8Array): { values?: TensorProto } =>
  sparseType.decode(readerOf(bytes)) as unknown as { values?: TensorProto };

/** Plain objects and decoded messages may be mixed. */
export const encodeModel = (model: ModelProto): Uint8Array =>
  modelType.encode(model as unknown as Record<string, unknown>).finish();
