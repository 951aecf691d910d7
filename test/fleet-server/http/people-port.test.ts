import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putTestRoots, startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
  await putTestRoots(server);
});
afterAll(() => server.close());

const url = (path: string) => `http://127.0.0.1:${server.running.ports.http}${path}`;

describe('problems', () => {
  it('are problem+json with a stable code, a sentence and a fix', async () => {
    const answer = await server.people('GET', '/v1/devices/d-nowhere');
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(answer.status).toBe(404);
    expect(answer.body).toEqual({
      type: 'urn:skein:problem:not-found',
      title: 'not found',
      status: 404,
      detail: 'there is no device d-nowhere',
      code: 'NOT_FOUND',
      fix: '`skein devices list` shows all ids.',
    });
  });

  it.each([
    ['a wrong type', '/v1/tokens', { uses: 'two' }, '/uses'],
    ['a value out of bounds', '/v1/tokens', { uses: 0 }, '/uses'],
    ['a bad element', '/v1/tokens', { groups: ['ok', 'NOT OK'] }, '/groups/1'],
    ['a misspelt key', '/v1/tokens', { usse: 1 }, ''],
    ['an array instead of an object', '/v1/tokens', [], ''],
  ])('name the place of %s', async (_what, path, body, place) => {
    const answer = await server.people('POST', path, { body });
    expect(answer.body).toMatchObject({ status: 400, code: 'REQUEST_INVALID', path: place });
  });

  it('name the place in a query', async () => {
    const answer = await server.people('GET', '/v1/devices?limit=0');
    expect(answer.body).toMatchObject({ status: 400, code: 'REQUEST_INVALID', path: '/limit' });
    expect((await server.people('GET', '/v1/devices?limt=5')).status).toBe(400);
    expect((await server.people('GET', '/v1/devices?cursor=%21')).body).toMatchObject({ path: '/cursor' });
  });

  it.each([
    ['JSON that is cut off', '{"uses":', 400],
    ['nothing where JSON was announced', '', 400],
    ['a body beyond the bound', `{"groups":["${'a'.repeat(300_000)}"]}`, 413],
  ])('answer %s', async (_what, body, status) => {
    const answer = await server.people('POST', '/v1/tokens', { body });
    expect(answer.status).toBe(status);
    expect(answer.body.code).toMatch(/^(REQUEST_INVALID|PAYLOAD_TOO_LARGE)$/);
  });

  it('answer an unknown address and an unknown method alike', async () => {
    expect((await server.people('GET', '/v1/nothing')).body).toMatchObject({
      status: 404,
      code: 'NOT_FOUND',
    });
    expect((await server.people('DELETE', '/v1/tokens')).body).toMatchObject({
      status: 404,
      code: 'NOT_FOUND',
    });
  });
});

describe('access', () => {
  it.each([
    ['viewer', 'POST', '/v1/tokens', 403],
    ['viewer', 'GET', '/v1/devices', 200],
    ['operator', 'POST', '/v1/tokens', 200],
    ['operator', 'GET', '/v1/audit', 403],
    ['operator', 'POST', '/v1/login-links', 403],
    ['publisher', 'GET', '/v1/audit', 403],
    ['admin', 'GET', '/v1/audit', 200],
  ] as const)('of a %s: %s %s is answered %i', async (role, method, path, status) => {
    const answer = await server.people(method, path, { role, ...(method === 'POST' ? { body: {} } : {}) });
    expect(answer.status).toBe(status);
    if (status === 403) expect(answer.body.code).toBe('FORBIDDEN');
  });

  it('needs a key that this server made', async () => {
    const ask = (authorization?: string) =>
      fetch(url('/v1/devices'), { headers: authorization ? { authorization } : {} });
    const good = server.keys.viewer;
    const wrong = good.slice(0, -1) + (good.endsWith('0') ? '1' : '0');
    expect((await ask()).status).toBe(401);
    expect((await ask(`Bearer ${wrong}`)).status).toBe(401);
    expect((await ask(`Basic ${good}`)).status).toBe(401);
    expect((await ask(`Bearer ${good}`)).status).toBe(200);
    await server.running.store
      .updateTable('api_keys')
      .set({ revoked_at: 1 })
      .where('name', '=', 'viewer')
      .execute();
    expect((await ask(`Bearer ${good}`)).status).toBe(401);
    await server.running.store.updateTable('api_keys').set({ revoked_at: null }).execute();
  });

  it('stores no secret in the clear', async () => {
    const token = await server.token();
    const tables = ['api_keys', 'tokens', 'logins', 'sessions', 'idempotency', 'audit'] as const;
    const rows = await Promise.all(
      tables.map((t) => server.running.store.selectFrom(t).selectAll().execute()),
    );
    const text = JSON.stringify(rows);
    expect(text).not.toContain(token.split('.')[1]);
    expect(text).not.toContain(server.keys.admin.split('_')[2]);
  });
});

describe('a login link', () => {
  const login = async () => {
    const link = String((await server.people('POST', '/v1/login-links', { body: {} })).body.url);
    const secret = link.split('/#/login/')[1]!;
    const trade = () =>
      fetch(url('/v1/login'), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ secret }),
      });
    return { link, trade };
  };

  it('is traded once for a cookie that scripts can not read', async () => {
    const { trade } = await login();
    const first = await trade();
    expect(await first.json()).toEqual({ role: 'admin' });
    const cookie = first.headers.get('set-cookie')!;
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Max-Age=43200$/);
    expect((await trade()).status).toBe(401);
    const session = cookie.split(';')[0]!;
    expect((await fetch(url('/v1/devices'), { headers: { cookie: session } })).status).toBe(200);
  });

  it('opens a session that other pages can not use to change anything', async () => {
    const cookie = (await (await login()).trade()).headers.get('set-cookie')!.split(';')[0]!;
    const change = (headers: Record<string, string>) =>
      fetch(url('/v1/tokens'), {
        method: 'POST',
        headers: { cookie, 'content-type': 'application/json', ...headers },
        body: '{}',
      });
    expect((await change({ 'sec-fetch-site': 'same-site' })).status).toBe(403);
    expect((await change({ origin: 'http://127.0.0.1:1' })).status).toBe(403);
    expect((await change({})).status).toBe(403);
    expect((await change({ 'sec-fetch-site': 'same-origin' })).status).toBe(200);
    expect((await change({ origin: url('') })).status).toBe(200);
  });

  it('expires', async () => {
    const { trade } = await login();
    await server.running.store.updateTable('logins').set({ expires_at: 1 }).execute();
    expect((await trade()).status).toBe(401);
  });
});

describe('Idempotency-Key', () => {
  it('answers a repeated request with the first answer and does nothing twice', async () => {
    const device = await server.enrol();
    const revoke = (path: string) =>
      server.people('POST', path, { body: {}, headers: { 'idempotency-key': 'k-1' } });
    const path = `/v1/devices/${device.device}/revoke`;
    expect((await revoke(path)).status).toBe(200);
    expect((await revoke(path)).status).toBe(200);
    const { body } = await server.people('GET', '/v1/audit?limit=1000');
    const entries = body.items as { action: string; subject: string }[];
    expect(entries.filter((e) => e.action === 'revokeDevice' && e.subject === device.device)).toHaveLength(1);
  });

  it('refuses the same key for another request', async () => {
    const [a, b] = [await server.enrol(), await server.enrol()];
    const revoke = (device: string) =>
      server.people('POST', `/v1/devices/${device}/revoke`, {
        body: {},
        headers: { 'idempotency-key': 'k-2' },
      });
    expect((await revoke(a.device)).status).toBe(200);
    expect((await revoke(b.device)).body).toMatchObject({ status: 409, code: 'CONFLICT' });
  });
});

describe('pages', () => {
  it('neither skip nor repeat an item', async () => {
    const token = await server.token({ uses: 5 });
    for (let i = 0; i < 5; i += 1) await server.enrol(token);
    const all = (await server.people('GET', '/v1/devices?limit=1000')).body.items as { id: string }[];
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const path = `/v1/devices?limit=2${cursor ? `&cursor=${cursor}` : ''}`;
      const { body } = await server.people('GET', path);
      seen.push(...(body.items as { id: string }[]).map((d) => d.id));
      cursor = body.next as string | null;
    } while (cursor);
    expect(seen).toEqual(all.map((d) => d.id));
    expect(seen.length).toBeGreaterThanOrEqual(5);
  });

  it('show only the devices of a group', async () => {
    const device = await server.enrol(await server.token({ groups: ['attic'] }));
    const { body } = await server.people('GET', '/v1/devices?group=attic');
    expect((body.items as { id: string }[]).map((d) => d.id)).toEqual([device.device]);
  });
});

describe('operations', () => {
  it('tells health, metrics without labels per device, and its own OpenAPI', async () => {
    const device = await server.enrol();
    expect(await (await fetch(url('/healthz'))).json()).toEqual({ ok: true });
    const metrics = await (await fetch(url('/metrics'))).text();
    expect(metrics).toMatch(/^skein_devices \d+$/m);
    expect(metrics).not.toContain(device.device);
    expect(await (await fetch(url('/openapi.json'))).json()).toMatchObject({ openapi: '3.1.0' });
  });

  it('lets pages load nothing from elsewhere', async () => {
    const policy = (await fetch(url('/'))).headers.get('content-security-policy');
    expect(policy).toContain("default-src 'self'");
    expect(policy).not.toMatch(/unsafe|https?:/);
  });

  it('survives bytes that are not HTTP', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(server.running.ports.http, '127.0.0.1', () =>
        socket.write(Buffer.alloc(64, 0xff)),
      );
      socket.on('error', () => resolve());
      socket.on('close', () => resolve());
      socket.resume();
    });
    expect((await fetch(url('/healthz'))).status).toBe(200);
  });
});
