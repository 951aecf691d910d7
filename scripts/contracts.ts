/**
 * `npm run contracts`: writes the published contracts to test/golden from the schemas that the code validates with:
 * OpenAPI 3.1, AsyncAPI 3 and JSON Schema 2020-12. A test fails while what is checked in differs.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openApiDocument, publishable } from '@skein/fleet-server/http/openapi.ts';
import { AckMessage } from '@skein/protocol/batch/ack.ts';
import { GoldenVectors, Manifest } from '@skein/protocol/manifest.ts';
import {
  DesiredMessage,
  EventMessage,
  HelloMessage,
  ReadsMessage,
  StateMessage,
  StatusMessage,
  UpdateMessage,
} from '@skein/protocol/messages.ts';
import { DirectorOrders, ModelTarget } from '@skein/protocol/orders.ts';
import {
  DriftRecord,
  EventRecord,
  HealthRecord,
  PredictionRecord,
  UpdateReport,
} from '@skein/protocol/records.ts';
import { RolloutSpec, RolloutView } from '@skein/protocol/rollout.ts';
import { asyncApiDocument } from './async-api.ts';

export const GOLDEN = join(import.meta.dirname, '..', 'test', 'golden');
/** Of the contracts, not of the software: grows when they change. */
const VERSION = '1.0.0';

const SCHEMAS: Record<string, unknown> = {
  'message-status': StatusMessage,
  'message-hello': HelloMessage,
  'message-state': StateMessage,
  'message-event': EventMessage,
  'message-update': UpdateMessage,
  'message-desired': DesiredMessage,
  'message-reads': ReadsMessage,
  'message-ack': AckMessage,
  'record-prediction': PredictionRecord,
  'record-health': HealthRecord,
  'record-drift': DriftRecord,
  'record-event': EventRecord,
  'update-report': UpdateReport,
  manifest: Manifest,
  'golden-vectors': GoldenVectors,
  'rollout-spec': RolloutSpec,
  'rollout-view': RolloutView,
  'director-orders': DirectorOrders,
  'model-target': ModelTarget,
};

const text = (document: unknown): string => `${JSON.stringify(publishable(document), null, 2)}\n`;

/** Every contract by its path under test/golden. */
export function contracts(): Map<string, string> {
  const schemas = Object.entries(SCHEMAS).map(([name, schema]): [string, string] => [
    `schemas/${name}.json`,
    text({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: `urn:skein:schema:v1:${name}`,
      title: name,
      ...(schema as object),
    }),
  ]);
  return new Map([
    ['openapi.json', text(openApiDocument(VERSION))],
    ['asyncapi.json', text(asyncApiDocument(VERSION))],
    ...schemas,
  ]);
}

/** Paths of contracts that are checked in but differ from what the code says, are missing, or are left over. */
export function staleContracts(): string[] {
  const made = contracts();
  const read = (path: string) => {
    try {
      return readFileSync(join(GOLDEN, path), 'utf8');
    } catch {
      return undefined;
    }
  };
  const differing = [...made].filter(([path, content]) => read(path) !== content).map(([path]) => path);
  return [...differing, ...leftOver(made)];
}

function leftOver(made: ReadonlyMap<string, string>): string[] {
  try {
    return readdirSync(join(GOLDEN, 'schemas'))
      .map((name) => `schemas/${name}`)
      .filter((path) => !made.has(path));
  } catch {
    return [];
  }
}

export async function run(args: string[]): Promise<number> {
  const stale = staleContracts();
  if (args.includes('--check')) {
    for (const path of stale)
      process.stdout.write(`${path} is not what the code says; run \`npm run contracts\`\n`);
    return stale.length === 0 ? 0 : 1;
  }
  const made = contracts();
  for (const path of stale) {
    const file = join(GOLDEN, path);
    const content = made.get(path);
    mkdirSync(dirname(file), { recursive: true });
    if (content === undefined) rmSync(file);
    else writeFileSync(file, content);
    process.stdout.write(`${content === undefined ? 'removed' : 'wrote'} test/golden/${path}\n`);
  }
  return 0;
}
