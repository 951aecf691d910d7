/** Listening for the local API, on a port or a Unix socket, with words for what is in the way. */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { SkeinError } from '@skein/protocol/errors.ts';

export type Listening = { host: string; port: number } | { socket: string };

/** Names of the configuration's keys, for the words. */
export interface ListenKeys {
  port: string;
  socket: string;
}

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID */
export const listenOn = (server: Server, where: Listening, keys: ListenKeys): Promise<void> =>
  'socket' in where ? listenUnix(server, where.socket, keys.socket) : listenTcp(server, where, keys.port);

function listenTcp(
  server: Server,
  { host, port }: { host: string; port: number },
  key: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const used = cause.code === 'EADDRINUSE';
      const what = used
        ? `port ${port} on ${host} is in use`
        : `cannot listen on ${host}:${port}: ${cause.message}`;
      const fix = `Stop the other program, or set ${key} to another port; 0 picks a free one.`;
      reject(new SkeinError(used ? 'PORT_IN_USE' : 'CONFIG_INVALID', what, { cause, fix }));
    });
    server.listen(port, host, resolve);
  });
}

/** The socket of a process that was killed is still there; one that somebody answers on is not touched. */
async function listenUnix(server: Server, path: string, key: string): Promise<void> {
  if (await answers(path))
    throw new SkeinError('PORT_IN_USE', `somebody listens on ${path} already`, {
      fix: `Stop the other agent, or set ${key} to another path.`,
    });
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there && !there.isSocket())
    throw new SkeinError('CONFIG_INVALID', `${path} is there and is no socket`, {
      fix: `Set ${key} to a path of its own.`,
    });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const fix = `${key} must be a path of at most 107 bytes in a folder that this user may write to.`;
      reject(new SkeinError('CONFIG_INVALID', `cannot listen on ${path}: ${cause.message}`, { cause, fix }));
    });
    server.listen(path, resolve);
  });
  chmodSync(path, 0o660);
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
