/** OpenAPI 3.1 from the route table: the same schemas that validate requests describe them. */
import { Problem, ROUTES, type Route } from '@skein/protocol/api.ts';

type Json = Record<string, unknown>;

const parametersIn = (path: string): string[] => [...path.matchAll(/:([a-zA-Z0-9]+)/g)].map((m) => m[1]!);

function parameters(route: Route): Json[] {
  const inPath = parametersIn(route.path).map((name) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const query = route.query as { properties?: Json; required?: string[] } | undefined;
  const inQuery = Object.entries(query?.properties ?? {}).map(([name, schema]) => ({
    name,
    in: 'query',
    required: query?.required?.includes(name) ?? false,
    schema,
  }));
  return [...inPath, ...inQuery];
}

function security(role: Route['role']): Json[] {
  if (role === 'anyone') return [];
  return role === 'device' ? [{ clientCertificate: [] }] : [{ apiKey: [] }, { session: [] }];
}

function operation(name: string, route: Route): Json {
  const answer = route.answer
    ? { 'application/json': { schema: route.answer } }
    : { [name === 'events' ? 'text/event-stream' : 'application/octet-stream']: {} };
  const body = route.body
    ? { 'application/json': { schema: route.body } }
    : { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } };
  const hasBody = route.body !== undefined || route.method === 'PUT';
  return {
    operationId: name,
    summary: route.summary,
    tags: [route.port],
    description: `Least role: ${route.role}. Port: ${route.port}.`,
    parameters: parameters(route),
    ...(hasBody ? { requestBody: { required: true, content: body } } : {}),
    security: security(route.role),
    responses: {
      200: { description: 'Done', content: answer },
      default: {
        description: 'A problem; `code` is stable',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
}

/** Two ports may serve one path with different meanings, so device paths carry their port as a server override. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {};
  for (const [name, route] of Object.entries(ROUTES) as [string, Route][]) {
    const path = route.path.replace(/:([a-zA-Z0-9]+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = {
      ...operation(name, route),
      ...(route.port === 'device'
        ? { servers: [{ url: 'https://localhost:8443', description: 'devices' }] }
        : {}),
    };
  }
  const document = {
    openapi: '3.1.0',
    info: {
      title: 'Skein fleet server',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: 'Fleet, models, rollouts and trust. Errors are problem+json with a stable code.',
    },
    servers: [{ url: 'http://localhost:8080', description: 'people' }],
    paths,
    components: {
      schemas: { Problem },
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer' },
        session: { type: 'apiKey', in: 'cookie', name: 'skein_session' },
        clientCertificate: { type: 'mutualTLS' },
      },
    },
  };
  return publishable(document) as Json;
}

/**
 * Plain JSON of a document that holds TypeBox schemas, in the words of JSON Schema 2020-12: TypeBox writes a tuple
 * as an array of `items` (draft 7), which is `prefixItems` now.
 */
export function publishable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(publishable);
  if (typeof value !== 'object' || value === null) return value;
  const { additionalItems: _, minItems, ...rest } = value as Json;
  if (!Array.isArray(rest.items)) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, publishable(inner)]));
  }
  const prefixItems = rest.items.map(publishable);
  return { ...rest, items: false, prefixItems, minItems: minItems ?? prefixItems.length };
}
