/**
 * What a room of the server gives the HTTP shell: one handler a route of `protocol/src/api.ts`. The shell has
 * already checked the role, the query and the body against the route's schemas. What a handler returns is sent as
 * JSON with status 200; a SkeinError becomes problem+json; a handler that answers by itself (bytes, a stream)
 * returns the `reply` it used.
 */
import type { BodyOf, QueryOf, Role } from '@skein/protocol/api.ts';
import type { RouteName } from '@skein/protocol/endpoints.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Who asks. On the device port without a certificate: `{ name: 'anyone', role: 'viewer' }`. */
export interface Actor {
  /** Goes into the audit log: `key:<id>`, `session:<name>` or `device:<id>`. */
  name: string;
  role: Role;
}

export interface HandlerRequest<N extends RouteName = RouteName> {
  /** Path parameters, percent-decoded. */
  params: Record<string, string>;
  query: QueryOf<N>;
  body: BodyOf<N>;
  actor: Actor;
  /** Common name of the client certificate; set on every `device` role route. */
  device?: string;
  headers: Record<string, string | string[] | undefined>;
  /** `raw.raw` is the request as a byte stream on routes without a body schema. */
  raw: FastifyRequest;
  reply: FastifyReply;
}

export type Handler<N extends RouteName = RouteName> = (request: HandlerRequest<N>) => Promise<unknown>;

/** A room exports `xxxRoutes(deps): Handlers`; the server merges the tables. */
export type Handlers = { [N in RouteName]?: Handler<N> };
