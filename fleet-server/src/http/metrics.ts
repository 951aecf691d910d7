/** `/metrics` for Prometheus: base units, no label per device (a fleet would become a cardinality problem). */
import type { TrustView } from '@skein/protocol/api.ts';
import { SEVERITIES } from '@skein/protocol/warnings.ts';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface ServerMetrics {
  request(route: string, status: number, seconds: number): void;
  /** Bytes of MQTT payload that devices sent, by channel. */
  message(channel: string, sizeBytes: number): void;
  text(): Promise<string>;
  readonly contentType: string;
}

export interface Gauges {
  devices(): number;
  devicesOnline(): number;
  streamClients(): number;
  brokerReached?(): boolean;
  /** Signed documents and what is wrong with them. */
  trust?(): Promise<TrustView>;
  /** What ingest did with batches, and the records in those it accepted, since the start. */
  batches?(): Record<string, number>;
  /** What waits at ingest now. */
  waiting?(): { batches: number; bytes: number };
  /** Of the state folder. */
  disk?(): { fullSince: number | null; free: number };
  /** What retention did since the start. */
  retention?(): Record<string, number>;
}

export function createMetrics(gauges: Gauges): ServerMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const requests = new Histogram({
    name: 'skein_http_request_duration_seconds',
    help: 'Time to answer an HTTP request',
    labelNames: ['route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2],
    registers,
  });
  const messages = new Counter({
    name: 'skein_mqtt_messages_total',
    help: 'Messages from devices',
    labelNames: ['channel'],
    registers,
  });
  const bytes = new Counter({
    name: 'skein_mqtt_received_bytes_total',
    help: 'Payload bytes from devices',
    labelNames: ['channel'],
    registers,
  });
  const waiting = () => gauges.waiting?.() ?? { batches: 0, bytes: 0 };
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('skein_devices', 'Enrolled devices that are not revoked', gauges.devices);
  gauge('skein_devices_online', 'Devices with a live connection', gauges.devicesOnline);
  gauge('skein_event_stream_clients', 'Open event streams', gauges.streamClients);
  gauge('skein_broker_reached', '1 while what devices publish comes here, 0 while the broker is away', () =>
    Number(gauges.brokerReached?.() ?? true),
  );
  new Gauge({
    name: 'skein_ingest_count',
    help: 'Batches by what became of them, and `records` in accepted ones, since the server started',
    labelNames: ['outcome'],
    registers,
    collect() {
      for (const [outcome, count] of Object.entries(gauges.batches?.() ?? {})) this.set({ outcome }, count);
    },
  });
  gauge('skein_ingest_waiting_batches', 'Batches waiting for their transaction', () => waiting().batches);
  gauge(
    'skein_ingest_waiting_bytes',
    'Bytes of batches waiting for their transaction',
    () => waiting().bytes,
  );
  gauge('skein_disk_usable_bytes', 'Disk that is left for the store', () => gauges.disk?.().free ?? 0);
  gauge('skein_disk_full', '1 while no batch is taken for want of disk', () =>
    gauges.disk?.().fullSince == null ? 0 : 1,
  );
  new Gauge({
    name: 'skein_retention_count',
    help: 'Batches summed up (rolled), rows removed (expired), failed steps, since the server started',
    labelNames: ['outcome'],
    registers,
    collect() {
      for (const [outcome, count] of Object.entries(gauges.retention?.() ?? {})) this.set({ outcome }, count);
    },
  });
  new Gauge({
    name: 'skein_trust_expiry_timestamp_seconds',
    help: 'When a signed document expires, in seconds since 1970',
    labelNames: ['repository', 'role'],
    registers,
    async collect() {
      this.reset();
      for (const { repo, role, expiresAt } of (await gauges.trust?.())?.documents ?? []) {
        this.set({ repository: repo, role }, expiresAt / 1000);
      }
    },
  });
  new Gauge({
    name: 'skein_trust_warnings',
    help: 'Signed documents and online keys that ask for a person, by severity',
    labelNames: ['severity'],
    registers,
    async collect() {
      const warnings = (await gauges.trust?.())?.warnings ?? [];
      for (const severity of SEVERITIES) {
        this.set({ severity }, warnings.filter((w) => w.severity === severity).length);
      }
    },
  });
  return {
    request: (route, status, seconds) => requests.observe({ route, status }, seconds),
    message(channel, sizeBytes) {
      messages.inc({ channel });
      bytes.inc({ channel }, sizeBytes);
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
