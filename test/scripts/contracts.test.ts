import { ROUTES } from '@skein/protocol/api.ts';
import { CHANNELS } from '@skein/protocol/topics.ts';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { contracts, staleContracts } from '../../scripts/contracts.ts';

type Json = Record<string, unknown>;
const made = contracts();
const document = (path: string) => JSON.parse(made.get(path)!) as Json;

/** Every `$ref` in a document, wherever it is. */
function refsOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' && typeof inner === 'string' ? [inner] : refsOf(inner),
  );
}

function resolve(root: Json, ref: string): unknown {
  return ref
    .replace(/^#\//, '')
    .split('/')
    .reduce<unknown>((at, part) => (at as Json | undefined)?.[part.replaceAll('~1', '/')], root);
}

describe('the published contracts', () => {
  it('are what the code says (npm run contracts writes them)', () => {
    expect(
      staleContracts(),
      'run `npm run contracts` and look at the difference before you commit it',
    ).toEqual([]);
  });

  it('describe every HTTP route once, with parameters for its path', () => {
    const paths = document('openapi.json').paths as Record<string, Record<string, Json>>;
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.values(methods).map((operation) => ({ path, operation })),
    );
    expect(operations.map(({ operation }) => operation.operationId).sort()).toEqual(
      Object.keys(ROUTES).sort(),
    );
    for (const { path, operation } of operations) {
      const named = (operation.parameters as Json[]).filter((p) => p.in === 'path').map((p) => p.name);
      expect(named).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]));
    }
  });

  it('describe every MQTT channel with its direction, QoS and retain flag', () => {
    const { channels, operations } = document('asyncapi.json') as {
      channels: Record<string, { address: string }>;
      operations: Record<string, Json>;
    };
    const addresses = Object.values(channels).map((c) => c.address.replace('skein/v1/{fleet}/{device}/', ''));
    expect(addresses.sort()).toEqual(Object.keys(CHANNELS).sort());
    expect(operations.sendStatus).toMatchObject({
      action: 'send',
      bindings: { mqtt: { qos: 1, retain: true } },
    });
    expect(operations.receiveAck).toMatchObject({ action: 'receive', bindings: { mqtt: { retain: false } } });
  });

  it.each(['openapi.json', 'asyncapi.json'])('resolve every reference in %s', (path) => {
    const root = document(path);
    const refs = refsOf(root);
    expect(refs.length).toBeGreaterThan(0);
    expect(refs.filter((ref) => resolve(root, ref) === undefined)).toEqual([]);
  });

  it('hold only valid JSON Schema 2020-12, each under an id of its own', () => {
    const ajv = new Ajv2020({ strict: false });
    const schemas = [...made.keys()].filter((path) => path.startsWith('schemas/')).map(document);
    for (const schema of schemas) expect(() => ajv.compile(schema)).not.toThrow();
    expect(new Set(schemas.map((s) => s.$id)).size).toBe(schemas.length);
  });

  it('accept what the code accepts and refuse what it refuses', () => {
    const ajv = new Ajv2020({ strict: false });
    const state = ajv.compile(document('schemas/message-state.json'));
    expect(state({ ts: 1, model: 'gas', score: 0.9, alarm: 0, temp_c: 51.2 })).toBe(true);
    expect(state({ ts: 1, alarm: 2 })).toBe(false);
    const update = ajv.compile(document('schemas/message-update.json'));
    expect(
      update({ installed_version: null, latest_version: null, in_progress: 0, update_percentage: null }),
    ).toBe(true);
    expect(update({ installed_version: null })).toBe(false);
  });
});
