/** A fleet server's rooms of trust and the operator's client beside them, wired without a network. */
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDiskBlobs } from '@skein/fleet-server/blobs/disk-blobs.ts';
import type { ApiClient } from '@skein/fleet-server/cli/client.ts';
import { Director } from '@skein/fleet-server/director/orders.ts';
import type { Handler, HandlerRequest } from '@skein/fleet-server/http/handlers.ts';
import { modelRoutes } from '@skein/fleet-server/http/model-routes.ts';
import { openDiskOnlineKeys } from '@skein/fleet-server/models/disk-online-keys.ts';
import { ImageRepository } from '@skein/fleet-server/models/image-repository.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { START } from '../../protocol/trust/simulated-repository.ts';

export async function openDesk() {
  const folder = mkdtempSync(join(tmpdir(), 'skein-desk-'));
  const time = { now: START };
  const clock = { now: () => time.now, mono: () => 0, after: () => ({ cancel() {} }) };
  const store = await openSqliteStore(':memory:');
  const blobs = await openDiskBlobs(join(folder, 'blobs'));
  const online = openDiskOnlineKeys(join(folder, 'online'));
  const repository = new ImageRepository({ store, blobs, clock, verify: nativeVerify, online });
  const announced: [string, number][] = [];
  const announce = (device: string, version: number) => void announced.push([device, version]);
  const director = new Director({ store, clock, online, announce });
  const handlers = modelRoutes({ store, blobs, repository, online, maxBlobBytes: 1 << 20 });
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
  return { folder, time, clock, store, blobs, online, repository, director, announced, handlers, api, close };
}

export type Desk = Awaited<ReturnType<typeof openDesk>>;
