/** The TUF client as a process, against a repository over HTTP, and what damage to its folder may do. */
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TufClient } from '../../scripts/tuf/client.ts';
import { diskMetadataFolder, fileNameOf } from '../../scripts/tuf/disk-folder.ts';
import { downloadTarget } from '../../scripts/tuf/download.ts';
import { httpMirror } from '../../scripts/tuf/http-mirror.ts';
import { SimulatedTuf, START, sha256 } from '../protocol/trust/simulated-repository.ts';

const PROGRAM = join(import.meta.dirname, '..', '..', 'scripts', 'tuf-client');
let folder: string;
let repo: SimulatedTuf;
let server: Server;
let asked: string[];
let artifacts: Record<string, Uint8Array>;

const metadata = () => join(folder, 'metadata');
const targets = () => join(folder, 'targets');
const base = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const refused = (code: string) => expect.objectContaining({ code });

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'skein-tuf-'));
  mkdirSync(metadata());
  repo = new SimulatedTuf('image');
  repo.publish();
  [asked, artifacts] = [[], {}];
  server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!);
    asked.push(path);
    const [, kind, ...rest] = path.split('/');
    const bytes = kind === 'metadata' ? repo.files[rest.join('/')] : artifacts[rest.join('/')];
    response.writeHead(bytes ? 200 : 404).end(bytes);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
  rmSync(folder, { recursive: true });
});

const clock = { now: () => START, mono: () => 0, after: () => ({ cancel() {} }) };

/** One client in this process, as one run of the program is. */
async function client<T>(work: (client: TufClient) => Promise<T> | T): Promise<T> {
  const store = new SqliteTrustStore(join(metadata(), 'trust.db'));
  try {
    const mirror = httpMirror(`${base()}/metadata`);
    return await work(new TufClient({ store, clock, folder: diskMetadataFolder(metadata()), mirror }));
  } finally {
    store.close();
  }
}
const init = () => client((c) => c.init(repo.files['1.root.json']!));
const refresh = () => client((c) => c.refresh());
const download = (path: string) =>
  client(async (c) => {
    await c.refresh();
    await downloadTarget(await c.find(path), { baseUrl: `${base()}/targets`, folder: targets() }, clock);
  });

function addTarget(path: string, text: string): void {
  repo.targets[path] = { length: text.length, hashes: { sha256: sha256(text) } };
  const cut = path.lastIndexOf('/') + 1;
  artifacts[`${path.slice(0, cut)}${sha256(text)}.${path.slice(cut)}`] = Buffer.from(text);
  repo.publish();
}

describe('damage to the metadata folder', () => {
  const FILES = ['root.json', 'timestamp.json', 'snapshot.json', 'targets.json', 'trust.db', 'trust.guard'];
  const DAMAGE: [string, (path: string) => void][] = [
    ['emptied', (path) => truncateSync(path, 0)],
    ['cut in half', (path) => truncateSync(path, readFileSync(path).length >> 1)],
    ['overwritten', (path) => writeFileSync(path, Buffer.alloc(readFileSync(path).length, 0xa5))],
    ['gone', (path) => rmSync(path)],
  ];

  it.each(FILES.flatMap((file) => DAMAGE.map(([name, damage]) => ({ file, name, damage }))))(
    '$file $name: no rollback passes, and refreshing goes on',
    async ({ file, damage }) => {
      await init();
      repo.rotate('timestamp');
      repo.publish();
      await refresh();
      const old = { ...repo.files };
      repo.publish();
      await refresh();
      damage(join(metadata(), file));
      const present = repo.files;
      repo.files = old;
      await expect(refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
      repo.files = present;
      await refresh();
      expect(readFileSync(join(metadata(), 'timestamp.json'))).toEqual(
        Buffer.from(repo.files['timestamp.json']!),
      );
      expect(readFileSync(join(metadata(), 'root.json'))).toEqual(Buffer.from(repo.files['2.root.json']!));
    },
  );

  it('by all readable copies at once changes nothing, for they are never read', async () => {
    await init();
    await refresh();
    for (const file of FILES.slice(0, 4)) writeFileSync(join(metadata(), file), 'x');
    await refresh();
    expect(readFileSync(join(metadata(), 'snapshot.json'))).toEqual(
      Buffer.from(repo.files['1.snapshot.json']!),
    );
  });

  it('or a second init with the same root forgets nothing', async () => {
    await init();
    const old = { ...repo.files };
    repo.publish();
    await refresh();
    await init();
    repo.files = old;
    await expect(refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });
});

describe('a download', () => {
  beforeEach(init);

  it('is checked before it is put under its name, and not repeated', async () => {
    addTarget('a/b/c.txt', 'content');
    await download('a/b/c.txt');
    await download('a/b/c.txt');
    expect(asked.filter((path) => path.startsWith('/targets'))).toHaveLength(1);
    expect(readFileSync(join(targets(), fileNameOf('a/b/c.txt')), 'utf8')).toBe('content');
  });

  it.each([
    ['other bytes', 'CONTENT'],
    ['too few', 'cont'],
    ['too many', 'content and more'],
  ])('of %s leaves nothing, and what was there stays', async (_, served) => {
    addTarget('t', 'before');
    await download('t');
    addTarget('t', 'content');
    artifacts[`${sha256('content')}.t`] = Buffer.from(served);
    await expect(download('t')).rejects.toMatchObject({
      code: expect.stringMatching(/BLOB_MISMATCH|UNREACHABLE|DOWNLOAD_FAILED/),
    });
    expect(readdirSync(targets())).toEqual(['t']);
    expect(readFileSync(join(targets(), 't'), 'utf8')).toBe('before');
  });

  it('of a path that walks is refused before anything is asked for', async () => {
    addTarget('../../etc/x', 'content');
    await expect(download('../../etc/x')).rejects.toEqual(refused('METADATA_INVALID'));
    expect(asked.filter((path) => path.startsWith('/targets'))).toEqual([]);
  });

  it('of what nobody signed says so', async () => {
    await expect(download('nothing')).rejects.toEqual(refused('NOT_FOUND'));
  });
});

describe('names as files', () => {
  it.each(['.', '..', '/', '../a', 'a/b', '?', '#', 'ü', 'x'.repeat(1000), '\u0000'])(
    '%j stays one file',
    (name) => {
      expect(fileNameOf(name)).toMatch(/^[^/\0]{1,200}$/);
      expect(['.', '..']).not.toContain(fileNameOf(name));
    },
  );

  it('differ when the names do', () => {
    const names = ['.', '..', '%2E', 'a/b', 'a%2Fb', 'x'.repeat(300), `${'x'.repeat(299)}y`];
    expect(new Set(names.map(fileNameOf)).size).toBe(names.length);
  });
});

describe('the program', () => {
  const run = (...args: string[]): Promise<{ code: number | null; stderr: string }> =>
    new Promise((done) => {
      const child = spawn(PROGRAM, ['--metadata-dir', metadata(), ...args], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      child.on('close', (code) => done({ code, stderr }));
    });

  it('begins, refreshes and downloads with exit code 0, and ends with 1 and a reason otherwise', async () => {
    const late = Date.now() + 86_400_000;
    repo.expires = { root: late, timestamp: late, snapshot: late, targets: late };
    repo.publishRoot();
    addTarget('one', '1');
    const root = join(folder, 'root.json');
    writeFileSync(root, repo.files['1.root.json']!);
    const url = ['--metadata-url', `${base()}/metadata`];
    const get = ['--target-base-url', `${base()}/targets`, '--target-dir', targets()];
    expect(await run(...url, 'refresh')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('NOT_ENROLLED'),
    });
    expect(asked).toEqual([]);
    expect(await run('init', root)).toMatchObject({ code: 0, stderr: '' });
    expect(await run(...url, 'refresh')).toMatchObject({ code: 0, stderr: '' });
    const both = ['--target-name', 'one', '--target-name', 'two'];
    const ended = await run(...url, ...both, ...get, 'download');
    expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') });
    expect(existsSync(join(targets(), 'one'))).toBe(true);
    expect(await run('refresh')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--metadata-url'),
    });
  }, 120_000);
});
