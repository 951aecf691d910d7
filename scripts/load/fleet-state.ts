/**
 * A fleet server's state folder with many enrolled devices in it, as if each had claimed its identity: the real CA,
 * a certificate for each, and their rows. All devices share one TLS key, so that making them costs a signature each.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { newTlsKey } from '@skein/agent/identity/x509-request.ts';
import { openX509Authority } from '@skein/fleet-server/fleet/x509-authority.ts';
import { openDiskOnlineKeys } from '@skein/fleet-server/models/disk-online-keys.ts';
import { newestKeys } from '@skein/fleet-server/models/online-keys.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { nativeSigner, systemClock } from '@skein/fleet-server/system-clock.ts';
import type { Signer } from '@skein/protocol/ports.ts';

export interface FleetState {
  ca: string;
  /** Of every device. */
  key: string;
  certificates: Record<string, string>;
  /** The server's certificate and key, for a broker that stands in for it. */
  server: { cert: string; key: string };
  /** Hex; acknowledgements are signed with it. */
  ackKey: string;
}

export const FLEET = 'home';

export const deviceIds = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `d-${String(i).padStart(5, '0')}`);

/** The report key of a device of the load, out of its id. */
export const reportSigner = (device: string): Signer =>
  nativeSigner(new Uint8Array(createHash('sha256').update(`load ${device}`).digest()));

export async function makeFleetState(stateDir: string, devices: readonly string[]): Promise<FleetState> {
  const authority = await openX509Authority(join(stateDir, 'ca'), systemClock);
  const { tlsKey: key, csr } = await newTlsKey();
  const store = await openSqliteStore(join(stateDir, 'store.db'));
  const certificates: Record<string, string> = {};
  for (const id of devices) {
    const { certificate, serial, notAfter } = await authority.signDevice(csr, id);
    certificates[id] = certificate;
    await store
      .insertInto('devices')
      .values({
        id,
        name: id,
        groups_json: '[]',
        report_key: Buffer.from(reportSigner(id).publicKey).toString('hex'),
        cert_serial: serial,
        cert_not_after: notAfter,
        enrolled_at: systemClock.now(),
        revoked_at: null,
      })
      .execute();
  }
  await store.destroy();
  const server = await authority.serverTls(['localhost', '127.0.0.1']);
  const { ack } = newestKeys(openDiskOnlineKeys(join(stateDir, 'keys')));
  return { ca: authority.ca, key, certificates, server, ackKey: ack };
}
