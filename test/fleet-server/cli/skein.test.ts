import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { sparkline } from '@skein/fleet-server/cli/monitor.ts';
import { parseServerSentEvents } from '@skein/fleet-server/cli/server-sent-events.ts';
import { createProgram, EXIT, exitCodeOf } from '@skein/fleet-server/cli/skein.ts';
import { ago, formatTable } from '@skein/fleet-server/cli/table.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EnrolledDevice, putTestRoots, startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;
let device: EnrolledDevice;
let stateDir: string;
let printed = '';

beforeAll(async () => {
  server = await startTestServer();
  await putTestRoots(server);
  device = await server.enrol(await server.token({ groups: ['lab'] }));
  stateDir = mkdtempSync(join(tmpdir(), 'skein-cli-'));
  const operator = { url: server.running.url, key: server.keys.admin };
  writeFileSync(join(stateDir, 'operator.json'), JSON.stringify(operator), { mode: 0o600 });
});
afterAll(async () => {
  await server.close();
  rmSync(stateDir, { recursive: true, force: true });
});
beforeEach(() => {
  printed = '';
  vi.stubEnv('SKEIN_STATE_DIR', stateDir);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const skein = async (...args: string[]): Promise<string> => {
  const program = await createProgram(args);
  await program.parseAsync(args, { from: 'user' });
  return printed;
};

describe('skein', () => {
  it('prints devices as an array of objects for programs', async () => {
    const list = JSON.parse(await skein('devices', 'list', '-o', 'json')) as object[];
    expect(list).toEqual([
      {
        id: device.device,
        name: 'bench',
        groups: ['lab'],
        online: false,
        lastSeen: null,
        model: null,
        predictions: 0,
        warnings: 0,
        drift: 'unknown',
        revoked: false,
      },
    ]);
  });

  it('prints devices as a table for people', async () => {
    const [head, row] = (await skein('devices', 'list')).split('\n');
    expect(head).toMatch(/^ID +NAME +STATE +LAST SEEN +MODEL +PREDICTIONS +WARNINGS +DRIFT +GROUPS$/);
    expect(row).toMatch(new RegExp(`^${device.device} +bench +offline +never +– +0 +0 +unknown +lab$`));
  });

  it('lists and verifies the audit log, and fails when it does not hold', async () => {
    await skein('devices', 'set', device.device, '--name', 'bench');
    printed = '';
    expect(await skein('audit', '--limit', '5')).toMatch(
      new RegExp(`key:admin +changeDevice +${device.device}`),
    );
    printed = '';
    expect(await skein('audit', 'verify')).toMatch(/^holds +yes\nentries +\d+\nhead +[0-9a-f]{64}\n$/);
    const { store } = server.running;
    await store.updateTable('audit').set({ actor: 'key:a' }).where('actor', '=', 'key:admin').execute();
    await expect(skein('audit', 'verify')).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('was changed'),
    });
    await store.updateTable('audit').set({ actor: 'key:admin' }).where('actor', '=', 'key:a').execute();
  });

  it('shows one device, renames and regroups it', async () => {
    expect(await skein('devices', 'show', device.device)).toMatch(/^name +bench$/m);
    printed = '';
    expect(await skein('devices', 'set', device.device, '--name', 'roof', '--groups', 'a,b')).toMatch(
      /^groups +a, b$/m,
    );
    await skein('devices', 'set', device.device, '--name', 'bench', '--groups', 'lab');
  });

  it('makes a claim token with the command that uses it', async () => {
    const text = await skein('tokens', 'create', '--uses', '3', '--ttl', '10min');
    expect(text).toMatch(/^[a-z0-9]{8}\.[0-9a-f]{64}\.[0-9a-f]{64}\n/);
    expect(text).toContain('skein-agent enroll --server https://localhost:');
    printed = '';
    expect(await skein('tokens', 'list')).toMatch(/3 of 3/);
  });

  it('makes a login link that the dashboard understands', async () => {
    expect(await skein('login')).toMatch(/^http:\/\/localhost:\d+\/#\/login\/[0-9a-f]{64}\n$/);
  });

  it('tells which flags are wrong, what is missing and what is denied, by exit code', async () => {
    const codeOf = async (...args: string[]) => {
      vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
      return skein(...args).then(() => EXIT.done, exitCodeOf);
    };
    expect(await codeOf('devices', 'lst')).toBe(EXIT.usage);
    expect(await codeOf('devices', 'list', '-o', 'xml')).toBe(EXIT.usage);
    expect(await codeOf('tokens', 'create', '--ttl', 'soon')).toBe(EXIT.usage);
    expect(await codeOf('devices', 'show', 'd-nowhere')).toBe(EXIT.failed);
    expect(await codeOf('--help')).toBe(EXIT.done);
    vi.stubEnv('SKEIN_API_KEY', server.keys.viewer);
    expect(await codeOf('tokens', 'create')).toBe(EXIT.denied);
    vi.stubEnv('SKEIN_URL', 'http://127.0.0.1:9');
    expect(await codeOf('devices', 'list')).toBe(EXIT.unreachable);
    vi.stubEnv('SKEIN_STATE_DIR', '/nowhere');
    vi.stubEnv('SKEIN_API_KEY', '');
    expect(await codeOf('devices', 'list')).toBe(EXIT.unreachable);
  });

  it('runs as a program: JSON on standard output, problems on standard error', async () => {
    vi.restoreAllMocks();
    const bin = resolve(import.meta.dirname, '../../../fleet-server/src/cli/skein.ts');
    const run = (...args: string[]) =>
      new Promise<{ code: number; out: string; err: string }>((done) =>
        execFile(process.execPath, [bin, ...args], (error, out, err) =>
          done({ code: (error?.code as number | undefined) ?? 0, out, err }),
        ),
      );
    const [good, bad] = await Promise.all([
      run('server', 'status', '-o', 'json'),
      run('devices', 'show', 'd-nowhere'),
    ]);
    expect(JSON.parse(good.out)).toMatchObject({ fleet: 'home', trustReady: true });
    expect(good.code).toBe(0);
    expect(bad).toMatchObject({ code: 1, out: '' });
    expect(bad.err).toBe(
      'NOT_FOUND: there is no device d-nowhere\n  → `skein devices list` shows all ids.\n',
    );
  });
});

describe('skein in a pipe', () => {
  it('ends quietly when its reader has enough', async () => {
    vi.restoreAllMocks();
    const bin = resolve(import.meta.dirname, '../../../fleet-server/src/cli/skein.ts');
    const script = `"${process.execPath}" "${bin}" --help | head -c 1`;
    const stderr = await new Promise((done) =>
      execFile('bash', ['-c', script], (_error, _out, err) => done(err)),
    );
    expect(stderr).toBe('');
  });
});

describe('tables', () => {
  it('align their columns and let no control character through to the terminal', () => {
    const rows = [
      { name: 'a', n: 5 },
      { name: 'evil\u001b[2J', n: 1234 },
    ];
    const columns = [
      { title: 'NAME', value: (r: (typeof rows)[0]) => r.name },
      { title: 'N', value: (r: (typeof rows)[0]) => r.n, align: 'right' as const },
    ];
    expect(formatTable(rows, columns)).toBe('NAME         N\na            5\nevil·[2J  1234\n');
  });

  it('say how long ago something was', () => {
    expect(
      [null, 1000, 500, 61_000, 7_200_000].map((ms) => ago(ms === null ? null : 10_000_000 - ms, 10_000_000)),
    ).toEqual(['never', '1 s ago', 'now', '1 min ago', '2 h ago']);
  });
});

describe('the monitor’s sparkline', () => {
  it('scales to what it shows', () => {
    expect(sparkline([0, 5, 10])).toBe('▁▅█');
    expect(sparkline([3, 3])).toBe('▁▁');
    expect(sparkline([])).toBe('');
  });
});

describe('reading an event stream', () => {
  it('puts events together however the bytes are cut', async () => {
    const bytes = new TextEncoder().encode(
      ': hi\n\nid: 7\nevent: state\ndata: {"ü":\ndata: 1}\n\ndata: 2\n\n',
    );
    for (const size of [1, 2, 3, 5, 100]) {
      const chunks = (async function* () {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      })();
      const events = [];
      for await (const event of parseServerSentEvents(chunks)) events.push(event);
      expect(events).toEqual([
        { id: '7', type: 'state', data: { ü: 1 } },
        { type: 'message', data: 2 },
      ]);
    }
  });

  it('turns what is no SkeinError into a failure', () => {
    expect(exitCodeOf(new Error('x'))).toBe(EXIT.failed);
    expect(exitCodeOf(new SkeinError('UNREACHABLE', 'x'))).toBe(EXIT.unreachable);
  });
});
