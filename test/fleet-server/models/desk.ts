/** A fleet server's rooms of trust and the operator's client beside them, wired without a network. */
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDiskBlobs } from '@skein/fleet-server/blobs/disk-blobs.ts';
import type { ApiClient } from '@skein/fleet-server/cli/client.ts';
import { Director } from '@skein/fleet-server/director/orders.ts';
import type { Handler, HandlerRequest } from '@skein/fleet-server/http/handlers.ts';
import { modelRoutes } from '@skein/fleet-server/http/model-routes.ts';
import { trustRoutes } from '@skein/fleet-server/http/trust-routes.ts';
import { openDiskOnlineKeys } from '@skein/fleet-server/models/disk-online-keys.ts';
import { ImageRepository } from '@skein/fleet-server/models/image-repository.ts';
import type { OnlineKeyring } from '@skein/fleet-server/models/online-keys.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { START } from '../../protocol/trust/simulated-repository.ts';

export async function openDesk() {
  const folder = mkdtempSync(join(tmpdir(), 'skein-desk-'));
  const time = { now: START };
  const clock = { now: () => time.now, mono: () => 0, after: () => ({ cancel() {} }) };
  const store = await openSqliteStore(':memory:');
  const blobs = await openDiskBlobs(join(folder, 'blobs'));
  let ring = openDiskOnlineKeys(join(folder, 'online'));
  /** As a restart of the server finds them. */
  const reopenOnlineKeys = () => {
    ring = openDiskOnlineKeys(join(folder, 'online'));
  };
  const online: OnlineKeyring = {
    held: (role) => ring.held(role),
    stage: (role) => ring.stage(role),
    keepOnly: (role, key) => ring.keepOnly(role, key),
  };
  const repository = new ImageRepository({ store, blobs, clock, verify: nativeVerify, online });
  const announced: [string, number][] = [];
  const announce = (device: string, version: number) => void announced.push([device, version]);
  const director = new Director({ store, clock, online, announce });
  const handlers = {
    ...trustRoutes({ store, repository, online, clock, verify: nativeVerify }),
    ...modelRoutes({ store, blobs, repository, maxBlobBytes: 1 << 20 }),
  };
  const call = (name: string, given: Partial<HandlerRequest>) =>
    (handlers[name as 'getRoots'] as Handler)({ params: {}, headers: {}, ...given } as HandlerRequest);
  const api = {
    url: 'memory:',
    call: (name: string, given: object = {}) => call(name, given),
    all: async (name: string) => ((await call(name, {})) as { items: unknown[] }).items,
    putBlob: (sha256: string, path: string) =>
      call('putBlob', { params: { sha256 }, raw: { body: createReadStream(path) } as never }),
    events: () => {
      throw new Error('no events here');
    },
  } as unknown as ApiClient;
  const close = async () => {
    await store.destroy();
    rmSync(folder, { recursive: true });
  };
  return {
    folder,
    time,
    clock,
    store,
    blobs,
    online,
    reopenOnlineKeys,
    repository,
    director,
    announced,
    handlers,
    api,
    close,
  };
}

export type Desk = Awaited<ReturnType<typeof openDesk>>;
