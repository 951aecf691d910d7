import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  LINK_WEATHERS,
  type LinkWeather,
  lacksNamespaces,
  NetworkNamespace,
} from '../../../scripts/chaos/linux-netns.ts';

/** Connects to `localhost` at a port and says what came of it. */
const CLIENT = `
const socket = require('node:net').connect({ host: 'localhost', port: Number(process.argv[1]), family: 4 });
const end = (word) => { console.log(word); process.exit(0); };
socket.once('data', (said) => end(String(said)));
socket.once('error', (error) => end(error.code));
setTimeout(() => end('silence'), Number(process.argv[2]));`;

const UNREACHABLE = /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EACCES|EPERM)$/;

describe.skipIf(lacksNamespaces() !== undefined)('a network namespace of a device', () => {
  let network: NetworkNamespace;
  let server: Server;

  beforeEach(async () => {
    network = new NetworkNamespace(7);
    server = createServer((socket) => socket.end(`hello ${socket.remoteAddress}`));
    await new Promise<void>((resolve) => server.listen(0, network.address, resolve));
  });
  afterEach(() => {
    network.close();
    server.close();
  });

  /** What a client inside hears. */
  async function hear(withinMs: number): Promise<string> {
    const { port } = server.address() as AddressInfo;
    const { program, args } = network.inside(process.execPath, [
      '-e',
      CLIENT,
      String(port),
      String(withinMs),
    ]);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    for await (const chunk of child.stdout) said += chunk;
    return said.trim();
  }

  it('reaches this machine as localhost, from an address of its own', async () => {
    expect(await hear(10_000)).toMatch(/^hello 198\.18\.\d+\.\d+$/);
  });

  const heard: Record<LinkWeather, RegExp> = {
    down: /^(silence|EHOSTUNREACH|ENETUNREACH)$/,
    lost: /^silence$/,
    refused: UNREACHABLE,
    lossy: /^(hello|silence)/,
    narrow: /^hello/,
    moved: /^hello/,
  };
  it.each(LINK_WEATHERS)('can be made %s and well again', async (weather) => {
    const before = await hear(10_000);
    const heal = network.spoil(weather);
    const meanwhile = await hear(700);
    expect(meanwhile).toMatch(heard[weather]);
    if (weather === 'moved') expect(meanwhile).not.toBe(before);
    heal();
    expect(await hear(10_000)).toBe(before);
  });

  it('leaves nothing behind', () => {
    network.close();
    const { stdout } = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' });
    expect(stdout).not.toContain(network.name);
    expect(existsSync(`/etc/netns/${network.name}`)).toBe(false);
    const links = execFileSync('ip', ['-o', 'address'], { encoding: 'utf8' });
    expect(links).not.toContain(network.address);
  });
});
