/** HTTPS to the server resumes TLS sessions, and proves itself anew when certificate or CA are others. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { systemClock } from '@skein/agent/system-clock.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createParties, type Parties } from '../../contracts/broker-parties.ts';

let parties: Parties;
let server: Server;
const reused: boolean[] = [];

beforeAll(async () => {
  parties = await createParties();
  const asked = { requestCert: true, rejectUnauthorized: true };
  server = createServer({ ...parties.server, ...asked }, ({ socket }, response) => {
    reused.push((socket as TLSSocket).isSessionReused());
    response.setHeader('Connection', 'close').end('{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.close();
  parties.dispose();
});

it('resumes the session of before with each fetch, but not under another certificate', async () => {
  const [first, renewed] = [await parties.device('d-1'), await parties.device('d-1')];
  let now = first;
  const { port } = server.address() as { port: number };
  const fetcher = httpFetcher(
    `https://localhost:${port}`,
    () => ({ ca: now.ca, certificate: now.cert, key: now.key }),
    systemClock,
  );
  for (let i = 0; i < 3; i++) await fetcher.document('/a', 10);
  now = renewed;
  for (let i = 0; i < 2; i++) await fetcher.document('/a', 10);
  fetcher.close();
  expect(reused).toEqual([false, true, true, false, true]);
});
