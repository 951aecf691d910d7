import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchStatus } from '@skein/agent/cli/local-client.ts';
import { parseConfig } from '@skein/agent/config/parse.ts';
import { afterEach, describe, expect, it } from 'vitest';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** Of an agent whose API should listen where this does. */
async function configOf(answer: RequestListener) {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return configAt((server.address() as AddressInfo).port);
}

const configAt = (port: number) =>
  parseConfig(
    { name: 'agent.yaml', values: null, lineOf: () => 1 },
    { SKEIN_STATE_DIR: join(tmpdir(), 'skein-no-such-folder'), SKEIN_AGENT_PORT: String(port) },
  );

describe('asking the agent on this machine', () => {
  it('ends in time where something listens that never answers, and says so', async () => {
    const config = await configOf(() => undefined);
    await expect(fetchStatus(config, 100)).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: expect.stringContaining('did not answer within 0.1 s'),
      fix: expect.stringContaining('ss -ltnp'),
    });
  });

  it.each([200, 502])('says that what answers %d with a page is not the agent', async (status) => {
    const config = await configOf((_request, response) => void response.writeHead(status).end('<html>'));
    await expect(fetchStatus(config)).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: expect.stringContaining('is not the agent'),
    });
  });

  it('says what the agent says of a refusal, with its code and what to do', async () => {
    const refusal = { error: 'UNAUTHENTICATED: no token', code: 'UNAUTHENTICATED', fix: 'Send it.' };
    const config = await configOf(
      (_request, response) => void response.writeHead(401).end(JSON.stringify(refusal)),
    );
    await expect(fetchStatus(config)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      message: 'no token',
      fix: 'Send it.',
    });
  });

  it('says that none runs where nothing listens', async () => {
    const config = await configOf(() => undefined);
    await new Promise((closed) => servers.splice(0)[0]!.close(closed));
    await expect(fetchStatus(config)).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: expect.stringContaining('no agent answers at'),
    });
  });
});
