/** Keys, publishing and reading models against a whole server, as `skein` does it. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiClient } from '@skein/fleet-server/cli/client.ts';
import { initKeys } from '@skein/fleet-server/cli/init-keys.ts';
import { publishBundle } from '@skein/fleet-server/cli/publish-bundle.ts';
import { nativeVerify, systemClock } from '@skein/fleet-server/system-clock.ts';
import type { Role } from '@skein/protocol/api.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashOf, smallModel, writeSmallModel } from '../models/small-model.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;
let folder: string;
const refused = (code: string) => expect.objectContaining({ code });
const apiAs = (role: Role) =>
  createApiClient({ url: `http://127.0.0.1:${server.running.ports.http}`, key: server.keys[role] });
const operator = (role: Role = 'publisher') => ({
  api: apiAs(role),
  dir: join(folder, 'keys'),
  clock: systemClock,
  verify: nativeVerify,
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'skein-publish-'));
  server = await startTestServer({ SKEIN_MAX_BLOB: '1MiB' });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

describe('before any keys', () => {
  it('the server says that devices can not enrol yet, and has no models', async () => {
    expect(await apiAs('viewer').call('server')).toMatchObject({ trustReady: false });
    expect(await apiAs('viewer').all('listModels')).toEqual([]);
    await expect(apiAs('viewer').call('getRoots')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      fix: expect.stringContaining('skein keys init'),
    });
  });

  it('publishing says what is missing', async () => {
    const path = writeSmallModel(join(folder, 'early'), smallModel());
    await expect(publishBundle({ ...operator(), path })).rejects.toEqual(refused('NOT_FOUND'));
  });
});

describe('with keys', () => {
  beforeAll(async () => {
    await initKeys(operator());
  });

  it('devices can enrol', async () => {
    expect(await apiAs('viewer').call('server')).toMatchObject({ trustReady: true });
  });

  it('a bundle is published through HTTP and read back by anyone who may look', async () => {
    const model = smallModel('gas', '1.0.0');
    const path = writeSmallModel(join(folder, 'gas'), model);
    const published = await publishBundle({ ...operator(), path });
    expect(await apiAs('viewer').all('listModels')).toMatchObject([
      { name: 'gas', version: '1.0.0', manifestSha256: published.manifestSha256, revoked: false },
    ]);
    const params = { name: 'gas', version: '1.0.0' };
    expect(await apiAs('viewer').call('showModel', { params })).toMatchObject({ manifest: model.manifest });
  });

  it('only publishers may upload', async () => {
    const path = writeSmallModel(join(folder, 'heat'), smallModel('heat', '1.0.0'));
    for (const role of ['viewer', 'operator'] as const) {
      await expect(publishBundle({ ...operator(role), path })).rejects.toEqual(refused('FORBIDDEN'));
    }
  });
});

describe('an uploaded blob', () => {
  const put = async (sha: string, bytes: Uint8Array) => {
    const path = join(folder, 'blob');
    writeFileSync(path, bytes);
    return apiAs('publisher').putBlob(sha, path);
  };

  it('is taken once its bytes hash to its name', async () => {
    const bytes = randomBytes(300_000);
    expect(await put(hashOf(bytes), bytes)).toEqual({ sizeBytes: bytes.length });
    await expect(put(hashOf('other'), bytes)).rejects.toEqual(refused('BLOB_MISMATCH'));
  });

  it('is refused beyond the configured size, announced or not', async () => {
    const bytes = randomBytes(1_048_577);
    await expect(put(hashOf(bytes), bytes)).rejects.toMatchObject({
      code: expect.stringMatching(/^(BLOB_TOO_LARGE|PAYLOAD_TOO_LARGE)$/),
    });
  });

  it('is refused under a name that is no hash', async () => {
    await expect(put('..%2fstore.db', randomBytes(3))).rejects.toEqual(refused('REQUEST_INVALID'));
  });
});
