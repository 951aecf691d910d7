/**
 * TUF 1.0.34 documents (clause 4): `{signed, signatures}`, bounded before they are parsed; fields we do not know
 * are kept, because the signature covers them. Nothing here trusts anything: {@link openDocument} only splits a
 * document, {@link requireThreshold} (signatures.ts) decides about it, and only then is `signed` read by its schema.
 *
 * Limits (bytes): root 512 KiB, timestamp 16 KiB, snapshot 2 MiB, targets 6 MiB. Keys and key ids of a role: 256.
 */
import { type Static, type TSchema, Type } from 'typebox';
import { SkeinError } from '../errors.ts';
import { fitsMemory } from '../json-size.ts';
import { checker, oneOf, recordOf } from '../schema.ts';
import { type Bytes, KIB, type Millis } from '../units.ts';
import { canonicalJson } from './canonical-json.ts';

export const MAX_BYTES = {
  root: 512 * KIB,
  timestamp: 16 * KIB,
  snapshot: 2048 * KIB,
  targets: 6144 * KIB,
} as const satisfies Record<string, Bytes>;

const name = Type.String({ minLength: 1, maxLength: 1024 });
const version = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const length = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const hashes = recordOf(Type.String({ pattern: '^[0-9a-f]+$' }), {
  minProperties: 1,
});

const common = {
  spec_version: Type.String({ pattern: '^1\\.[0-9]+(\\.[0-9]+)?$' }),
  version,
  expires: Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$' }),
};

/** Clause 4.2. A scheme we do not know may keep other things than `public`: its keys are carried and never count. */
const TufKey = Type.Object({
  keytype: name,
  scheme: name,
  keyval: Type.Object({ public: Type.Optional(Type.String({ maxLength: 16384 })) }),
});

/** Clauses 4.3 and 4.5: "a positive integer"; a threshold of 0 would let anything pass (a known bug of other clients). */
const RoleKeys = {
  keyids: Type.Array(name, { uniqueItems: true, maxItems: 256 }),
  threshold: Type.Integer({ minimum: 1, maximum: 256 }),
};
const TufRole = Type.Object(RoleKeys);
const keys = recordOf(TufKey, { maxProperties: 256 });

/** Clause 4.3. */
const RootSchema = Type.Object({
  _type: Type.Literal('root'),
  ...common,
  consistent_snapshot: Type.Optional(Type.Boolean()),
  keys,
  roles: Type.Object({ root: TufRole, timestamp: TufRole, snapshot: TufRole, targets: TufRole }),
});

const MetaFile = Type.Object({
  version,
  length: Type.Optional(length),
  hashes: Type.Optional(hashes),
});

/** Clause 4.6. */
const TimestampSchema = Type.Object({
  _type: Type.Literal('timestamp'),
  ...common,
  meta: Type.Object({ 'snapshot.json': MetaFile }),
});

/** Clause 4.4. */
const SnapshotSchema = Type.Object({
  _type: Type.Literal('snapshot'),
  ...common,
  meta: Type.Intersect([
    Type.Object({ 'targets.json': MetaFile }),
    recordOf(MetaFile, { maxProperties: 65536 }),
  ]),
});

const TargetFile = Type.Object({ length, hashes, custom: Type.Optional(Type.Unknown()) });

const DelegatedRole = Type.Object({
  name,
  ...RoleKeys,
  terminating: Type.Optional(Type.Boolean()),
  paths: Type.Optional(Type.Array(Type.String({ maxLength: 1024 }), { maxItems: 4096 })),
  path_hash_prefixes: Type.Optional(
    Type.Array(Type.String({ pattern: '^[0-9a-f]{0,64}$' }), { maxItems: 65536 }),
  ),
});

/** Clause 4.5. */
const TargetsSchema = Type.Object({
  _type: Type.Literal('targets'),
  ...common,
  targets: recordOf(TargetFile),
  delegations: Type.Optional(Type.Object({ keys, roles: Type.Array(DelegatedRole, { maxItems: 1024 }) })),
  custom: Type.Optional(Type.Unknown()),
});

const Document = Type.Object({
  signed: Type.Object({ _type: oneOf(['root', 'timestamp', 'snapshot', 'targets']) }),
  /** The signature is not held to a form: one that can not be read counts for nothing and harms no other. */
  signatures: Type.Array(Type.Object({ keyid: name, sig: Type.String({ maxLength: 16384 }) }), {
    maxItems: 1024,
  }),
});

export type TufKey = Static<typeof TufKey>;
export type TufRole = Static<typeof TufRole>;
export type Root = Static<typeof RootSchema>;
export type MetaFile = Static<typeof MetaFile>;
export type Timestamp = Static<typeof TimestampSchema>;
export type Snapshot = Static<typeof SnapshotSchema>;
export type TargetFile = Static<typeof TargetFile>;
export type DelegatedRole = Static<typeof DelegatedRole>;
export type Targets = Static<typeof TargetsSchema>;

/** A document split open: bounded and well-formed, not yet believed. */
export interface OpenedDocument {
  /** What the signatures cover. */
  canonical: Uint8Array;
  signatures: { keyid: string; sig: string }[];
  signed: unknown;
}

const documents = Object.fromEntries(
  Object.entries(MAX_BYTES).map(([role, max]) => [role, checker(Document, 'METADATA_INVALID', max)]),
) as Record<keyof typeof MAX_BYTES, ReturnType<typeof checker<typeof Document>>>;

/**
 * Read before it is believed: whoever stands where it comes from must not be able to end the agent with it.
 * @throws SkeinError METADATA_INVALID: too long, not JSON, no such document, no canonical form, a key id twice
 */
export function openDocument(role: keyof typeof MAX_BYTES, bytes: Uint8Array, what: string): OpenedDocument {
  if (bytes.length <= MAX_BYTES[role] && !fitsMemory(bytes))
    throw new SkeinError('METADATA_INVALID', `${what}: it would take too much memory`);
  const { signed, signatures } = documents[role].parse(bytes, what);
  // Clause 4.2: "the keyid MUST be unique in the signatures array".
  if (new Set(signatures.map((s) => s.keyid)).size !== signatures.length) {
    throw new SkeinError('METADATA_INVALID', `${what}: two signatures name the same key id`);
  }
  return { signed, signatures, canonical: canonicalJson(signed) };
}

const reader = <S extends TSchema>(schema: S) => {
  const { check } = checker(schema, 'METADATA_INVALID');
  return (opened: OpenedDocument, what: string): Static<S> => check(opened.signed, what);
};

export const readRoot = reader(RootSchema);
export const readTimestamp = reader(TimestampSchema);
export const readSnapshot = reader(SnapshotSchema);
const readAnyTargets = reader(TargetsSchema);

const TOP_ROLES: ReadonlySet<string> = new Set(['root', 'timestamp', 'snapshot', 'targets']);

/**
 * Also: role names are unique within a delegation (clause 4.5), none is that of a top-level role, whose documents it
 * would be mistaken for, and `paths` excludes `path_hash_prefixes`.
 */
export function readTargets(opened: OpenedDocument, what: string): Targets {
  const targets = readAnyTargets(opened, what);
  const roles = targets.delegations?.roles ?? [];
  if (new Set(roles.map((role) => role.name)).size !== roles.length) {
    throw new SkeinError('METADATA_INVALID', `${what}: two delegations have the same role name`);
  }
  if (roles.some((role) => TOP_ROLES.has(role.name))) {
    throw new SkeinError('METADATA_INVALID', `${what}: a delegation has the name of a top-level role`);
  }
  if (roles.some((role) => role.paths && role.path_hash_prefixes)) {
    throw new SkeinError('METADATA_INVALID', `${what}: a delegation has both paths and path_hash_prefixes`);
  }
  return targets;
}

/** @throws SkeinError METADATA_INVALID for a date that does not exist */
export function expiresAt(signed: { expires: string }): Millis {
  const at = Date.parse(signed.expires);
  // Some days that do not exist parse as the day after: February 30th would be March 2nd.
  if (!Number.isFinite(at) || dateOf(at) !== signed.expires)
    throw new SkeinError('METADATA_INVALID', `${signed.expires} is not a date`);
  return at;
}

/** Times in metadata have whole seconds. */
export const dateOf = (at: Millis): string => `${new Date(at).toISOString().slice(0, 19)}Z`;
