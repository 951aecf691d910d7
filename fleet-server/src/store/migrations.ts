/** Plain SQL, applied in order, each once, each in a transaction. Append; never edit one that has shipped. */
export const MIGRATIONS: readonly { id: string; sql: string }[] = [
  {
    id: '0001-first',
    sql: `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE tokens (id TEXT PRIMARY KEY, secret_hash TEXT NOT NULL, uses_left INTEGER NOT NULL, uses_total INTEGER NOT NULL,
  expires_at BIGINT NOT NULL, groups_json TEXT NOT NULL, created_at BIGINT NOT NULL, created_by TEXT NOT NULL);
CREATE TABLE devices (id TEXT PRIMARY KEY, name TEXT NOT NULL, groups_json TEXT NOT NULL, report_key TEXT NOT NULL,
  cert_serial TEXT NOT NULL, cert_not_after BIGINT NOT NULL, enrolled_at BIGINT NOT NULL, revoked_at BIGINT);
CREATE TABLE presence (device TEXT PRIMARY KEY, online INTEGER NOT NULL, session TEXT NOT NULL, boot TEXT NOT NULL,
  last_seen BIGINT NOT NULL, hello_json TEXT, state_json TEXT, update_json TEXT);
CREATE TABLE streams (device TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL, ordinal INTEGER NOT NULL,
  next_seq BIGINT NOT NULL, head TEXT NOT NULL, stored BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (device, stream, epoch));
CREATE TABLE batches (device TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL, seq BIGINT NOT NULL, n INTEGER NOT NULL,
  first_ts BIGINT NOT NULL, last_ts BIGINT NOT NULL, received_at BIGINT NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (device, stream, epoch, seq));
CREATE INDEX batches_by_time ON batches (device, stream, last_ts);
CREATE TABLE gaps (device TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL, from_seq BIGINT NOT NULL, to_seq BIGINT NOT NULL,
  reason TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (device, stream, epoch, from_seq));
CREATE TABLE incidents (id TEXT NOT NULL, device TEXT NOT NULL, code TEXT NOT NULL, severity TEXT NOT NULL, start_time BIGINT NOT NULL,
  end_time BIGINT, source TEXT, detail TEXT, PRIMARY KEY (device, id));
CREATE TABLE drift_windows (device TEXT NOT NULL, boot TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, profile TEXT NOT NULL,
  "window" INTEGER NOT NULL, ts BIGINT NOT NULL, verdict TEXT NOT NULL, record_json TEXT NOT NULL,
  PRIMARY KEY (device, boot, model, "window"));
CREATE INDEX drift_by_model ON drift_windows (model, version, ts);
CREATE TABLE update_reports (id TEXT NOT NULL, device TEXT NOT NULL, rollout TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
  outcome TEXT NOT NULL, at BIGINT NOT NULL, report_json TEXT NOT NULL, PRIMARY KEY (device, id));
CREATE TABLE installed (device TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, sha256 TEXT NOT NULL, since BIGINT NOT NULL,
  PRIMARY KEY (device, model));
CREATE TABLE models (name TEXT NOT NULL, version TEXT NOT NULL, release INTEGER NOT NULL, floor INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL, manifest_json TEXT NOT NULL, published_at BIGINT NOT NULL, revoked_at BIGINT, PRIMARY KEY (name, version));
CREATE TABLE trust_documents (repo TEXT NOT NULL, role TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL,
  created_at BIGINT NOT NULL, PRIMARY KEY (repo, role, version));
CREATE TABLE orders (device TEXT NOT NULL, model TEXT NOT NULL, rollout TEXT NOT NULL, order_json TEXT NOT NULL, PRIMARY KEY (device, model));
CREATE TABLE director_documents (device TEXT PRIMARY KEY, version BIGINT NOT NULL, expires_at BIGINT NOT NULL,
  content_hash TEXT NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE rollouts (id TEXT PRIMARY KEY, state TEXT NOT NULL, revision INTEGER NOT NULL, doc_json TEXT NOT NULL,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, due_at BIGINT);
CREATE TABLE effects (id TEXT PRIMARY KEY, rollout TEXT NOT NULL, kind TEXT NOT NULL, body_json TEXT NOT NULL,
  created_at BIGINT NOT NULL, done_at BIGINT);
CREATE INDEX effects_open ON effects (rollout) WHERE done_at IS NULL;
CREATE TABLE api_keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, secret_hash TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL, expires_at BIGINT, revoked_at BIGINT);
CREATE TABLE logins (secret_hash TEXT PRIMARY KEY, role TEXT NOT NULL, expires_at BIGINT NOT NULL);
CREATE TABLE sessions (secret_hash TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, expires_at BIGINT NOT NULL);
CREATE TABLE audit (seq INTEGER PRIMARY KEY, at BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
  subject TEXT NOT NULL, detail_json TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE idempotency (key TEXT NOT NULL, route TEXT NOT NULL, request_hash TEXT NOT NULL, status INTEGER NOT NULL,
  body TEXT NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (key, route));
`,
  },
  { id: '0002-newest-drift', sql: 'CREATE INDEX drift_by_device ON drift_windows (device, ts);' },
  {
    id: '0003-deltas',
    sql: `
CREATE TABLE deltas (from_sha256 TEXT NOT NULL, to_sha256 TEXT NOT NULL, patch TEXT, size BIGINT NOT NULL, made_at BIGINT NOT NULL,
  PRIMARY KEY (from_sha256, to_sha256));
CREATE INDEX deltas_by_result ON deltas (to_sha256);
`,
  },
  { id: '0004-observed', sql: 'ALTER TABLE streams ADD COLUMN observed BIGINT NOT NULL DEFAULT 0;' },
  {
    id: '0005-faults',
    sql: `
CREATE TABLE faults (device TEXT NOT NULL, kind TEXT NOT NULL, count BIGINT NOT NULL, first_at BIGINT NOT NULL, last_at BIGINT NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (device, kind));
`,
  },
  {
    id: '0006-rollups',
    sql: `
ALTER TABLE batches ADD COLUMN rolled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN expired BIGINT NOT NULL DEFAULT 0;
CREATE INDEX batches_unrolled ON batches (device, stream, received_at) WHERE rolled = 0;
CREATE INDEX batches_unrolled_by_age ON batches (received_at) WHERE rolled = 0;
CREATE INDEX batches_rolled ON batches (stream, received_at) WHERE rolled = 1;
CREATE TABLE rollups (device TEXT NOT NULL, stream TEXT NOT NULL, resolution TEXT NOT NULL, chunk BIGINT NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (device, stream, resolution, chunk));
CREATE INDEX rollups_by_age ON rollups (resolution, chunk);
`,
  },
  {
    id: '0007-pseudonyms',
    sql: `
CREATE TABLE pseudonyms (device TEXT PRIMARY KEY, pseudonym TEXT NOT NULL UNIQUE);
CREATE TABLE audit_details (seq INTEGER PRIMARY KEY, pseudonym TEXT NOT NULL, salt TEXT NOT NULL, detail_json TEXT NOT NULL);
CREATE INDEX audit_details_by_pseudonym ON audit_details (pseudonym);
ALTER TABLE drift_windows ADD COLUMN received_at BIGINT NOT NULL DEFAULT 0;
UPDATE drift_windows SET received_at = unixepoch() * 1000;
CREATE INDEX drift_by_age ON drift_windows (received_at);
`,
  },
  {
    // What was deleted before `secure_delete` was on may still be legible in the file: the first erasure makes it anew.
    id: '0008-erasures',
    sql: `
CREATE TABLE erased (identity TEXT PRIMARY KEY);
CREATE TABLE erasures (pseudonym TEXT PRIMARY KEY, state TEXT NOT NULL, masked TEXT, by TEXT NOT NULL, begun_at BIGINT NOT NULL,
  finished_at BIGINT, total BIGINT NOT NULL, removed_json TEXT NOT NULL, chains_json TEXT, search_json TEXT, audit_seq INTEGER);
INSERT INTO meta SELECT 'store.traces', '1' WHERE EXISTS (SELECT 1 FROM devices);
`,
  },
];
