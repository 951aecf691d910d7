/**
 * Every HTTP route and its schemas: the server registers them, the CLI and the dashboard call them, OpenAPI is
 * made from them. `people` routes live on the people's port, `device` routes on the mTLS port.
 */

import { type Static, type TSchema, Type } from 'typebox';
import { DeltaOffers } from './delta/offers.ts';
import { type Endpoint, endpointOf, type RouteName } from './endpoints.ts';
import { MODEL_NAME_PATTERN, VERSION_PATTERN } from './manifest.ts';
import { HelloMessage, Incident, StateMessage, UpdateMessage } from './messages.ts';
import { RolloutSpec, RolloutView } from './rollout.ts';
import { oneOf, recordOf, strict } from './schema.ts';
import { ID_PATTERN, STREAMS } from './topics.ts';
import { TRUST_WARNINGS, type TrustWarningCode } from './trust/expiry.ts';
import { SEVERITIES } from './warnings.ts';

export const ROLES = ['viewer', 'operator', 'publisher', 'admin'] as const;
export type Role = (typeof ROLES)[number];

const text = (maxLength: number) => Type.String({ maxLength });
const millis = Type.Number();
const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const deviceId = Type.String({ pattern: ID_PATTERN });
const groups = Type.Array(Type.String({ pattern: ID_PATTERN }), { maxItems: 32 });
const base64 = (maxLength: number) => Type.String({ maxLength, pattern: '^[A-Za-z0-9+/]*={0,2}$' });

export const Problem = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  code: Type.String({ description: 'Stable; see protocol/src/errors.ts' }),
  fix: Type.Optional(Type.String()),
});

export const StreamView = strict({
  stream: oneOf(STREAMS),
  epoch: Type.String(),
  stored: Type.Integer(),
  observed: Type.Integer({ description: 'Results the stored records were kept of' }),
  nextSeq: Type.Integer(),
  dropped: Type.Integer({ description: 'Given up by the device, by its policy' }),
  lostAtServer: Type.Integer({ description: 'Acknowledged, lost in a restore, and kept by nobody' }),
  gaps: Type.Array(strict({ from: Type.Integer(), to: Type.Integer(), reason: Type.String() }), {
    description: 'Numbers without a record, both ends inclusive; the newest ranges',
  }),
  expired: Type.Integer({ description: 'Of the stored, those kept only as sums by now' }),
  updatedAt: millis,
});

export const FAULT_KINDS = ['forged', 'invalid', 'fork', 'missing', 'flood'] as const;

/** Batches that a device should not have sent, by kind, since it was enrolled. */
export const FaultView = strict({
  kind: oneOf(FAULT_KINDS),
  count: Type.Integer(),
  firstAt: millis,
  lastAt: millis,
  detail: Type.String({ description: 'Of the last one' }),
});

/** What `skein devices list -o json` prints, one object a device. */
export const DeviceSummary = strict({
  id: deviceId,
  name: text(64),
  groups,
  online: Type.Boolean(),
  lastSeen: nullable(millis),
  model: nullable(Type.String({ description: 'name@version that the device last proved or said it runs' })),
  /** Prediction records stored at the server. */
  predictions: Type.Integer(),
  warnings: Type.Integer(),
  drift: oneOf(['calm', 'drift', 'not-enough-data', 'unknown']),
  revoked: Type.Boolean(),
});

export const DeviceView = Type.Object({
  ...DeviceSummary.properties,
  enrolledAt: millis,
  certificateExpiresAt: millis,
  hello: nullable(HelloMessage),
  state: nullable(StateMessage),
  update: nullable(UpdateMessage),
  streams: Type.Array(StreamView),
  faults: Type.Array(FaultView),
  incidents: Type.Array(Type.Object({ id: Type.String(), ...Incident.properties })),
  installed: Type.Array(
    strict({ model: Type.String(), version: Type.String(), sha256: Type.String(), since: millis }),
  ),
});

/** Columns, ready for a plot; `ts` ascending. */
export const Series = strict({
  ts: Type.Array(millis),
  values: recordOf(Type.Array(nullable(Type.Number()))),
  labels: Type.Optional(Type.Array(Type.String())),
  resolution: Type.Optional(
    oneOf(['raw', 'minute', 'hour'], 'Sums: each series is a mean, beside it NAME_min and NAME_max'),
  ),
});

export const ModelView = strict({
  name: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: VERSION_PATTERN }),
  release: Type.Integer(),
  floor: Type.Integer(),
  description: Type.String(),
  manifestSha256: hash,
  sizeBytes: Type.Integer(),
  variants: Type.Array(
    Type.Object({
      id: Type.String(),
      precision: Type.String(),
      sizeBytes: Type.Integer(),
      accuracy: nullable(Type.Number()),
    }),
  ),
  publishedAt: millis,
  revoked: Type.Boolean(),
  devices: Type.Integer({ description: 'Devices that run it' }),
});

export const DriftFeature = strict({
  name: Type.String(),
  n: Type.Integer(),
  /** Effect sizes over the merged counts; shown, never a trigger. */
  psi: Type.Number(),
  jensenShannon: Type.Number(),
  /** Standardised location and scale scores, and p of the calibrated omnibus test. */
  zLocation: Type.Number(),
  zScale: Type.Number(),
  p: Type.Number(),
  /** Smallest mean shift, in reference σ, that this window could find. */
  minimumDetectableShift: nullable(Type.Number()),
  missing: Type.Integer(),
  verdict: oneOf(['calm', 'drift', 'not-enough-data']),
  reference: Type.Array(Type.Number()),
  observed: Type.Array(Type.Number()),
  edges: Type.Array(Type.Number()),
});
export const DriftView = strict({
  model: Type.String(),
  version: Type.String(),
  device: nullable(Type.String()),
  windows: Type.Integer(),
  from: nullable(millis),
  to: nullable(millis),
  verdict: oneOf(['calm', 'drift', 'not-enough-data']),
  features: Type.Array(DriftFeature),
});

export const ServerView = strict({
  version: Type.String(),
  fleet: Type.String(),
  publicUrl: Type.String(),
  deviceUrl: Type.String(),
  mqtt: Type.String(),
  trustReady: Type.Boolean({ description: 'Both signed roots are there; devices can enrol' }),
  alarms: Type.Array(
    strict({
      code: Type.String(),
      severity: oneOf(SEVERITIES),
      since: millis,
      text: Type.String(),
      fix: Type.String(),
    }),
    { description: 'What of the server itself asks for a person' },
  ),
});

export const TokenRequest = strict({
  uses: Type.Optional(Type.Integer({ minimum: 1, maximum: 10000 })),
  ttlMs: Type.Optional(Type.Integer({ minimum: 1000 })),
  groups: Type.Optional(groups),
});
export const TokenView = strict({
  id: Type.String(),
  usesLeft: Type.Integer(),
  usesTotal: Type.Integer(),
  expiresAt: millis,
  groups,
});

/** Public halves of the keys that the server holds, to be named in roots that it can not sign. TUF key objects. */
export const OnlineKeys = strict({ snapshot: hash, timestamp: hash, director: hash, ack: hash });

export const TrustRoots = strict({ image: base64(1 << 20), director: base64(1 << 20) });

/** Roots, and the image targets that have to change with them when the publisher's key is withdrawn. */
export const RootsUpload = strict({
  ...TrustRoots.properties,
  targets: Type.Optional(base64(8 << 20)),
});

export const TRUST_ROLES = ['root', 'targets', 'snapshot', 'timestamp'] as const;
export const ONLINE_ROLES = ['snapshot', 'timestamp', 'director', 'ack'] as const;
const repo = oneOf(['image', 'director']);

export const TrustWarning = strict({
  code: oneOf(Object.keys(TRUST_WARNINGS) as TrustWarningCode[]),
  severity: oneOf(SEVERITIES),
  repo,
  role: oneOf(TRUST_ROLES),
  text: Type.String(),
  fix: Type.String(),
});
export const TrustDocumentView = strict({
  repo,
  role: oneOf(TRUST_ROLES),
  version: Type.Integer(),
  expiresAt: millis,
  threshold: Type.Integer(),
  keys: Type.Array(hash, { description: 'Public keys that the root names for this role' }),
  heldHere: Type.Boolean({ description: 'This server can sign it by itself' }),
});
/** What devices are shown, until when it holds, and who has to do something about it. */
export const TrustView = strict({
  documents: Type.Array(TrustDocumentView),
  warnings: Type.Array(TrustWarning, { description: 'Worst first' }),
});

/** Before TLS can be trusted: what the claim token's hash vouches for. Base64; trustHash of enrolment.ts. `ca` is PEM text. */
export const EnrolTrust = strict({ ca: base64(1 << 16), image: base64(1 << 20), director: base64(1 << 20) });
export const EnrolRequest = strict({
  token: Type.String({ maxLength: 256, description: '`id.secret`: the hash never leaves the device' }),
  name: Type.Optional(Type.String({ maxLength: 64 })),
  reportKey: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  csr: Type.String({ maxLength: 8192, description: 'PKCS#10, PEM, P-256' }),
});
export const EnrolAnswer = strict({
  device: deviceId,
  fleet: Type.String({ pattern: ID_PATTERN }),
  certificate: Type.String(),
  ca: Type.String(),
  deviceUrl: Type.String(),
  mqttUrl: Type.String(),
});
export const RenewRequest = strict({
  device: deviceId,
  csr: Type.String({ maxLength: 8192 }),
  at: millis,
  signature: Type.String({
    pattern: '^[0-9a-f]{128}$',
    description: 'Report key over the domain string, device, at and csr',
  }),
});

export const AuditVerdict = strict({
  holds: Type.Boolean(),
  entries: Type.Integer({ description: 'That hold, from the first on' }),
  head: Type.String({ description: 'Hash of the newest of them' }),
  newestAt: nullable(millis),
  broken: nullable(strict({ seq: Type.Integer(), why: Type.String() })),
});

const erasedKind = strict({ kind: Type.String(), rows: Type.Integer(), bytes: Type.Integer() });
/** What erasing a device would remove. */
export const ErasurePlan = strict({
  device: deviceId,
  name: Type.String(),
  kinds: Type.Array(erasedKind, { description: 'Content only, as it is stored' }),
  topics: Type.Integer({ description: 'MQTT topics whose retained messages are cleared' }),
});
export const ERASURE_STATES = ['erasing', 'clearing', 'searching', 'done'] as const;
/** The device is named by its pseudonym of the audit log only. */
export const ErasureView = strict({
  pseudonym: Type.String(),
  state: oneOf(ERASURE_STATES, 'Rows, then retained topics, then the files are searched for the id'),
  by: Type.String({ description: 'Who asked for it' }),
  begunAt: millis,
  finishedAt: nullable(millis),
  total: Type.Integer({ description: 'Rows when it began' }),
  removed: Type.Array(erasedKind),
  chains: nullable(
    strict(
      { streams: Type.Integer(), records: Type.Integer(), sha256: hash },
      'SHA-256 over sorted lines of JSON [stream, epoch, records numbered, chain head]: what its signed streams were',
    ),
  ),
  search: nullable(
    strict(
      { files: Type.Integer(), bytes: Type.Integer(), found: Type.Integer() },
      'The server’s files, searched for the device’s id afterwards',
    ),
  ),
  auditSeq: nullable(Type.Integer({ description: 'The entry of the audit log that says all this' })),
  trouble: nullable(Type.String({ description: 'Why it does not go on; it is tried again' })),
});

export const page = <T extends TSchema>(item: T) =>
  strict({ items: Type.Array(item), next: nullable(Type.String()) });
const empty = strict({});
const done = strict({ ok: Type.Literal(true) });

export interface Route extends Endpoint {
  port: 'people' | 'device';
  /** Least role, or `anyone`; on the device port `device` means a client certificate. */
  role: Role | 'anyone' | 'device';
  summary: string;
  query?: TSchema;
  body?: TSchema;
  /** Absent: the answer is not JSON (a stream or raw bytes). */
  answer?: TSchema;
}

const paging = {
  cursor: Type.Optional(text(256)),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
};
const recent = strict({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 5000 })),
  from: Type.Optional(
    Type.Number({
      minimum: 0,
      description: 'From then on, as fine as is kept and fits `limit`; absent: the newest records',
    }),
  ),
  to: Type.Optional(Type.Number({ minimum: 0, description: 'With `from`; absent: now' })),
});
const people = <const R extends Partial<Route> = Record<never, never>>(
  name: RouteName,
  role: Route['role'],
  summary: string,
  rest?: R,
) => ({ ...endpointOf(name), port: 'people' as const, role, summary, ...(rest as R) });
const device = <const R extends Partial<Route> = Record<never, never>>(
  name: RouteName,
  role: 'anyone' | 'device',
  summary: string,
  rest?: R,
) => ({ ...endpointOf(name), port: 'device' as const, role, summary, ...(rest as R) });

export const ROUTES = {
  server: people('server', 'viewer', 'What this server is', { answer: ServerView }),
  login: people('login', 'anyone', 'Trade a one-time login secret for a session cookie', {
    body: strict({ secret: text(128) }),
    answer: strict({ role: oneOf(ROLES) }),
  }),
  loginLink: people('loginLink', 'admin', 'Make a one-time login link', {
    body: empty,
    answer: strict({ url: Type.String(), expiresAt: millis }),
  }),
  createToken: people('createToken', 'operator', 'Make a claim token', {
    body: TokenRequest,
    answer: strict({ token: Type.String(), ...TokenView.properties }),
  }),
  listTokens: people('listTokens', 'operator', 'Claim tokens', { answer: page(TokenView) }),
  listDevices: people('listDevices', 'viewer', 'Devices', {
    query: strict({ ...paging, group: Type.Optional(text(64)) }),
    answer: page(DeviceSummary),
  }),
  showDevice: people('showDevice', 'viewer', 'One device', { answer: DeviceView }),
  changeDevice: people('changeDevice', 'operator', 'Name or regroup a device', {
    body: strict({ name: Type.Optional(text(64)), groups: Type.Optional(groups) }),
    answer: DeviceView,
  }),
  revokeDevice: people('revokeDevice', 'operator', 'Revoke and disconnect', {
    body: empty,
    answer: done,
  }),
  planErasure: people('planErasure', 'admin', 'What erasing a device would remove', {
    answer: ErasurePlan,
  }),
  eraseDevice: people(
    'eraseDevice',
    'admin',
    'Revoke a device for good and remove everything that came from it or names it; goes on by itself',
    { body: empty, answer: ErasureView },
  ),
  listErasures: people('listErasures', 'admin', 'The last 1,000 erasures, newest first', {
    answer: page(ErasureView),
  }),
  showErasure: people('showErasure', 'admin', 'How far an erasure is, and its proof', {
    answer: ErasureView,
  }),
  watchDevice: people('watchDevice', 'viewer', 'Ask for live state for a minute', {
    body: empty,
    answer: done,
  }),
  devicePredictions: people('devicePredictions', 'viewer', 'Stored predictions, newest window', {
    query: recent,
    answer: Series,
  }),
  deviceHealth: people('deviceHealth', 'viewer', 'Stored health, newest window', {
    query: recent,
    answer: Series,
  }),
  drift: people('drift', 'viewer', 'Drift per feature, for the fleet or one device', {
    query: strict({ model: Type.Optional(text(64)), device: Type.Optional(text(64)) }),
    answer: strict({ items: Type.Array(DriftView) }),
  }),
  onlineKeys: people('onlineKeys', 'viewer', 'Public keys to name in the roots', {
    answer: OnlineKeys,
  }),
  stageOnlineKeys: people(
    'stageOnlineKeys',
    'admin',
    'Make new online keys, to be named in the next roots; a new ack key counts at once',
    {
      body: strict({
        roles: Type.Array(oneOf(ONLINE_ROLES), { minItems: 1, maxItems: 4, uniqueItems: true }),
      }),
      answer: OnlineKeys,
    },
  ),
  trust: people('trust', 'viewer', 'Signed documents, their expiry and what is wrong with them', {
    answer: TrustView,
  }),
  getRoots: people('getRoots', 'viewer', 'Latest signed roots', { answer: TrustRoots }),
  getRoot: people('getRoot', 'viewer', 'One root of a chain', {
    answer: strict({ root: base64(1 << 20) }),
  }),
  putRoots: people('putRoots', 'publisher', 'Upload the next signed roots', {
    body: RootsUpload,
    answer: done,
  }),
  replaceRoots: people(
    'replaceRoots',
    'admin',
    'Begin anew with roots that the present ones do not vouch for; every device has to enrol again',
    { body: RootsUpload, answer: done },
  ),
  getTargets: people('getTargets', 'viewer', 'Latest signed image targets; empty string before the first', {
    answer: strict({ targets: base64(8 << 20) }),
  }),
  putTargets: people(
    'putTargets',
    'publisher',
    'Upload the next signed image targets; its manifests and blobs must be there',
    { body: strict({ targets: base64(8 << 20) }), answer: done },
  ),
  putBlob: people('putBlob', 'publisher', 'Upload a blob (raw body)', {
    answer: strict({ sizeBytes: Type.Integer() }),
  }),
  listModels: people('listModels', 'viewer', 'Published models', { answer: page(ModelView) }),
  showModel: people('showModel', 'viewer', 'One model with its manifest', {
    answer: Type.Object({ ...ModelView.properties, manifest: Type.Unknown() }),
  }),
  createRollout: people('createRollout', 'operator', 'Start a rollout', {
    body: RolloutSpec,
    answer: RolloutView,
  }),
  listRollouts: people('listRollouts', 'viewer', 'Rollouts, newest first', {
    answer: page(RolloutView),
  }),
  showRollout: people('showRollout', 'viewer', 'One rollout', { answer: RolloutView }),
  steerRollout: people('steerRollout', 'operator', 'pause, resume, abort, approve or rollback', {
    body: empty,
    answer: RolloutView,
  }),
  events: people(
    'events',
    'viewer',
    'Server-sent events: device, state, event, rollout; resumes after Last-Event-ID',
  ),
  audit: people('audit', 'admin', 'The hash-chained audit log', {
    query: strict(paging),
    answer: page(
      strict({
        seq: Type.Integer(),
        at: millis,
        actor: Type.String(),
        action: Type.String(),
        subject: Type.String({ description: 'A device’s id, or its pseudonym once it is erased' }),
        pseudonym: nullable(Type.String({ description: 'Of the device, as the hash chain knows it' })),
        detail: Type.Unknown(),
        hash: Type.String(),
      }),
    ),
  }),
  verifyAudit: people('verifyAudit', 'admin', 'Whether the audit log’s hash chain holds', {
    answer: AuditVerdict,
  }),

  enrolTrust: device('enrolTrust', 'anyone', 'CA and roots, to be held against the claim token’s hash', {
    answer: EnrolTrust,
  }),
  enrol: device('enrol', 'anyone', 'Claim an identity', {
    body: EnrolRequest,
    answer: EnrolAnswer,
  }),
  renew: device('renew', 'anyone', 'Renew a certificate, also an expired one', {
    body: RenewRequest,
    answer: strict({ certificate: Type.String() }),
  }),
  imageDocument: device(
    'imageDocument',
    'device',
    'Image repository metadata: N.root.json, timestamp.json, N.snapshot.json, N.targets.json',
  ),
  directorDocument: device(
    'directorDocument',
    'device',
    'Director metadata: N.root.json, and targets.json for the device of the certificate',
  ),
  deviceBlob: device('deviceBlob', 'device', 'A blob; Range and If-Range'),
  deviceDeltas: device('deviceDeltas', 'device', 'Patches that make a blob from one that devices have', {
    answer: DeltaOffers,
  }),
} as const satisfies Record<RouteName, Route>;

type Routes = typeof ROUTES;
/** What a route takes and gives, read off its schemas; `undefined` or `unknown` where it has none. */
export type BodyOf<N extends RouteName> = Routes[N] extends { body: infer S extends TSchema }
  ? Static<S>
  : undefined;
export type QueryOf<N extends RouteName> = Routes[N] extends { query: infer S extends TSchema }
  ? Static<S>
  : object;
export type AnswerOf<N extends RouteName> = Routes[N] extends { answer: infer S extends TSchema }
  ? Static<S>
  : unknown;

/** What the event stream carries: `event: <type>`, `data: <JSON>`. */
export interface StreamEvents {
  device: DeviceSummary;
  state: { device: string; state: Static<typeof StateMessage> };
  incident: { device: string; id: string; incident: Static<typeof Incident> };
  rollout: RolloutView;
}

export type DeviceSummary = Static<typeof DeviceSummary>;
export type DeviceView = Static<typeof DeviceView>;
export type Series = Static<typeof Series>;
export type ModelView = Static<typeof ModelView>;
export type DriftView = Static<typeof DriftView>;
export type ServerView = Static<typeof ServerView>;
export type TokenView = Static<typeof TokenView>;
export type OnlineKeys = Static<typeof OnlineKeys>;
export type TrustRoots = Static<typeof TrustRoots>;
export type RootsUpload = Static<typeof RootsUpload>;
export type TrustView = Static<typeof TrustView>;
export type TrustWarning = Static<typeof TrustWarning>;
export type TrustDocumentView = Static<typeof TrustDocumentView>;
export type OnlineRole = (typeof ONLINE_ROLES)[number];
export type ErasurePlan = Static<typeof ErasurePlan>;
export type ErasureView = Static<typeof ErasureView>;
export type AuditVerdict = Static<typeof AuditVerdict>;
export type EnrolTrust = Static<typeof EnrolTrust>;
export type EnrolRequest = Static<typeof EnrolRequest>;
export type EnrolAnswer = Static<typeof EnrolAnswer>;
export type RenewRequest = Static<typeof RenewRequest>;
