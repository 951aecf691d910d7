/** What the processes of the benchmark tell each other. */
import type { Sha256Hex } from '@skein/protocol/units.ts';

/** Certificates of one fleet. */
export interface Fleet {
  ca: string;
  server: { key: string; cert: string };
  device: { certificate: string; key: string };
}

export interface OriginStart {
  fleet: Fleet;
  /** Files by hash. */
  directory: string;
  /** What the link in front of it carries, bytes a second; undefined: all that comes. */
  linkRate?: number;
}

/** Bytes that the link carried towards devices, TLS and headers included, and when the first and the last came. */
export interface Carried {
  bytes: number;
  connections: number;
  firstMs: number;
  lastMs: number;
}

export type ToOrigin =
  | { type: 'start'; start: OriginStart }
  /** Cuts so many connections, each after about `everyBytes`. */
  | { type: 'cuts'; count: number; everyBytes: number }
  | { type: 'outage'; ms: number }
  | { type: 'reset' }
  | { type: 'carried' };

export type FromOrigin =
  | { type: 'ready'; port: number }
  | { type: 'done' }
  | { type: 'carried'; carried: Carried };

export interface SiteStart {
  fleet: Fleet;
  url: string;
  directory: string;
  devices: number;
  blob: { sha256: Sha256Hex; size: number };
  site: { serve: boolean; port: number; peers: string[] };
}

export type FromSite = { type: 'serving' } | { type: 'ready' } | { type: 'done' };
