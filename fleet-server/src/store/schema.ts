/**
 * Every table of the server, as Kysely sees it; the SQL is in `migrations.ts`. Times are milliseconds since 1970,
 * hashes and keys lower-case hex, `*_json` columns JSON text checked where they are read.
 */
import type { Generated } from 'kysely';

export interface Tables {
  meta: { key: string; value: string };
  tokens: {
    id: string;
    secret_hash: string;
    uses_left: number;
    uses_total: number;
    expires_at: number;
    groups_json: string;
    created_at: number;
    created_by: string;
  };
  devices: {
    id: string;
    name: string;
    groups_json: string;
    report_key: string;
    cert_serial: string;
    cert_not_after: number;
    enrolled_at: number;
    revoked_at: number | null;
  };
  presence: {
    device: string;
    online: number;
    session: string;
    boot: string;
    last_seen: number;
    hello_json: string | null;
    state_json: string | null;
    update_json: string | null;
  };
  /** Watermark of (device, stream, epoch): `next_seq` is the only sequence accepted next, `head` the chain so far. */
  streams: {
    device: string;
    stream: string;
    epoch: string;
    ordinal: number;
    next_seq: number;
    head: string;
    stored: number;
    /** Results the stored records were kept of; 0 in rows from before it was counted. */
    observed: Generated<number>;
    /** Of `stored`, those whose batches were removed by policy; they live on in sums. */
    expired: Generated<number>;
    updated_at: number;
  };
  batches: {
    device: string;
    stream: string;
    epoch: string;
    seq: number;
    n: number;
    first_ts: number;
    last_ts: number;
    received_at: number;
    bytes: Uint8Array;
    /** 1: it has been summed up. */
    rolled: Generated<number>;
  };
  /** Readings summed up: `resolution` `minute` | `hour`, all points of the hour or day from `chunk` on. */
  rollups: { device: string; stream: string; resolution: string; chunk: number; bytes: Uint8Array };
  gaps: {
    device: string;
    stream: string;
    epoch: string;
    from_seq: number;
    to_seq: number;
    reason: string;
    at: number;
  };
  incidents: {
    id: string;
    device: string;
    code: string;
    severity: string;
    start_time: number;
    end_time: number | null;
    source: string | null;
    detail: string | null;
  };
  /** What a device did that it should not, counted by kind since it was enrolled. */
  faults: {
    device: string;
    kind: string;
    count: number;
    first_at: number;
    last_at: number;
    detail: string;
  };
  drift_windows: {
    device: string;
    boot: string;
    model: string;
    version: string;
    profile: string;
    window: number;
    ts: number;
    verdict: string;
    record_json: string;
    received_at: number;
  };
  update_reports: {
    id: string;
    device: string;
    rollout: string;
    model: string;
    version: string;
    outcome: string;
    at: number;
    report_json: string;
  };
  /** What a device last proved to run, from its signed reports. */
  installed: { device: string; model: string; version: string; sha256: string; since: number };
  /** What turns one blob into another; `patch` null: it would save too little. */
  deltas: {
    from_sha256: string;
    to_sha256: string;
    patch: string | null;
    size: number;
    made_at: number;
  };
  models: {
    name: string;
    version: string;
    release: number;
    floor: number;
    manifest_sha256: string;
    manifest_json: string;
    published_at: number;
    revoked_at: number | null;
  };
  /** Signed metadata as uploaded or made: repo `image` | `director`. */
  trust_documents: { repo: string; role: string; version: number; bytes: Uint8Array; created_at: number };
  /** What the director will sign for a device; `revision` grows with each change. */
  orders: { device: string; model: string; rollout: string; order_json: string };
  director_documents: {
    device: string;
    version: number;
    expires_at: number;
    content_hash: string;
    bytes: Uint8Array;
  };
  rollouts: {
    id: string;
    state: string;
    revision: number;
    doc_json: string;
    created_at: number;
    updated_at: number;
    due_at: number | null;
  };
  effects: {
    id: string;
    rollout: string;
    kind: string;
    body_json: string;
    created_at: number;
    done_at: number | null;
  };
  api_keys: {
    id: string;
    name: string;
    role: string;
    secret_hash: string;
    created_at: number;
    expires_at: number | null;
    revoked_at: number | null;
  };
  logins: { secret_hash: string; role: string; expires_at: number };
  sessions: { secret_hash: string; name: string; role: string; expires_at: number };
  audit: {
    seq: Generated<number>;
    at: number;
    actor: string;
    action: string;
    subject: string;
    detail_json: string;
    previous: string;
    hash: string;
  };
  /** Who a pseudonym of the audit log is; the row goes when the device is erased. */
  pseudonyms: { device: string; pseudonym: string };
  /** What entries about devices say, beside the chain, which only covers its hash. */
  audit_details: { seq: number; pseudonym: string; salt: string; detail_json: string };
  /** Identities that are refused for good: hashes of ids and report keys (`erasure/identity.ts`). */
  erased: { identity: string };
  erasures: {
    pseudonym: string;
    state: string;
    /** The device's id in a form that no search for it finds; null once it is erased. */
    masked: string | null;
    /** Who asked for it. */
    by: string;
    begun_at: number;
    finished_at: number | null;
    /** Rows when it began. */
    total: number;
    removed_json: string;
    chains_json: string | null;
    search_json: string | null;
    audit_seq: number | null;
  };
  idempotency: {
    key: string;
    route: string;
    request_hash: string;
    status: number;
    body: string;
    created_at: number;
  };
}
