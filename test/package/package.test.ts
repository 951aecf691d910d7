import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { architectureOf } from '../../scripts/release/architectures.ts';
import { sizesOf } from '../../scripts/release/budgets.ts';
import { buildPackage } from '../../scripts/release/build-package.ts';
import { buildAndUnpack, type Unpacked } from '../../scripts/release/unpack.ts';
import { field, list, machineCode, runProgram, whyNoPackage } from './unpacked.ts';

const BUNDLE = join(import.meta.dirname, '..', '..', 'models', 'host', 'bundle');
const NATIVE = process.arch === 'arm64' ? 'arm64' : 'amd64';
const LIB = 'usr/lib/skein-agent';

/** Newest C library that the package may ask for: Debian 12, Ubuntu 22.04, JetPack 6. */
const GLIBC_MINOR = 34;

const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

const missing = await whyNoPackage();
if (missing) process.stdout.write(`Skipping the packages: ${missing}\n`);

describe.skipIf(missing)('the agent’s packages', () => {
  const packages = new Map<string, Unpacked>();

  const epoch = process.env.SOURCE_DATE_EPOCH;
  beforeAll(async () => {
    process.env.SOURCE_DATE_EPOCH = '1750000000';
    packages.set('arm64', await buildAndUnpack('arm64', 'small'));
    packages.set('amd64', await buildAndUnpack('amd64', 'fast'));
  });
  afterAll(() => {
    for (const each of packages.values()) each.remove();
    if (epoch === undefined) delete process.env.SOURCE_DATE_EPOCH;
    else process.env.SOURCE_DATE_EPOCH = epoch;
  });
  const of = (arch: string): Unpacked => packages.get(arch)!;

  describe.each(['amd64', 'arm64'])('%s', (arch) => {
    it('carries machine code of its own architecture only, and no newer C library than it names', () => {
      const code = machineCode(of(arch).root);
      expect(code.map((each) => each.path.split('/').at(-1)).sort()).toEqual([
        'libonnxruntime.so.1',
        `linux-${architectureOf(arch).node}.node`,
        'node',
        'onnxruntime_binding.node',
      ]);
      expect(new Set(code.map((each) => each.machine))).toEqual(new Set([architectureOf(arch).elfMachine]));
      for (const each of code) expect(each.glibc, each.path).toBeLessThanOrEqual(GLIBC_MINOR);
      expect(field(of(arch).built.file, 'Depends')).toContain(`libc6 (>= 2.${GLIBC_MINOR})`);
    });

    it('ships no sources, maps, types or paths of the machine that built it', () => {
      const paths = list(of(arch).built.file).map((each) => each.path);
      expect(paths.filter((path) => /\.(ts|mts|map|c|cc|cpp|h|hpp|gyp)$/.test(path))).toEqual([]);
      const app = join(of(arch).root, LIB, 'app');
      const leaks = readdirSync(app).filter((name) =>
        readFileSync(join(app, name), 'utf8').includes(process.cwd()),
      );
      expect(leaks).toEqual([]);
    });

    it('belongs to root, is writable by nobody else and lets only programs run', () => {
      for (const { mode, owner, path } of list(of(arch).built.file)) {
        const program = path.startsWith('usr/bin/skein') || path === `${LIB}/bin/node`;
        expect(`${owner} ${mode}`, path).toBe(
          `root/root ${path === '' || path.endsWith('/') ? 'drwxr-xr-x' : program ? '-rwxr-xr-x' : '-rw-r--r--'}`,
        );
      }
    });

    it('has a program for every worker and child that its code names', () => {
      const app = join(of(arch).root, LIB, 'app');
      const files = new Set(readdirSync(app));
      const named = [...files].flatMap((name) =>
        [
          ...readFileSync(join(app, name), 'utf8').matchAll(
            /new URL\("\.\/([\w-]+\.js)",(?:import\.meta\.url|__url)\)/g,
          ),
        ].map((match) => match[1]!),
      );
      expect(new Set(named)).toEqual(
        new Set([
          'inference-onnx-worker.js',
          'model-bench-child.js',
          'outbox-sqlite-check-worker.js',
          'pipeline-image-worker.js',
          'update-preflight-child.js',
        ]),
      );
      expect(named.filter((name) => !files.has(name))).toEqual([]);
    });

    it('checks out against its own md5sums and states its installed size', () => {
      const { built, root } = of(arch);
      const control = join(root, '..', 'control');
      execFileSync('dpkg-deb', ['--control', built.file, control]);
      execFileSync('md5sum', ['--check', '--quiet', join(control, 'md5sums')], { cwd: root, stdio: 'pipe' });
      expect(readFileSync(join(control, 'conffiles'), 'utf8')).toBe('/etc/skein/agent.yaml\n');
      const stated = Number(field(built.file, 'Installed-Size')) * 1024;
      expect(Math.abs(stated - built.installedBytes) / built.installedBytes).toBeLessThan(0.01);
    });

    it('names every third party whose code is inside', () => {
      const text = readFileSync(join(of(arch).root, 'usr/share/doc/skein-agent/copyright'), 'utf8');
      const titles = [...text.matchAll(/^─+\n(\S+)/gm)].map((match) => match[1]);
      expect(titles).toEqual(
        expect.arrayContaining([
          'Node.js',
          'onnxruntime-node',
          'better-sqlite3',
          'mqtt',
          'typebox',
          'tweetnacl',
        ]),
      );
    });
  });

  it('keeps the sizes that arm64 boards were promised', (context) => {
    if (!of('arm64').built.runtime.strippedWith) context.skip('nothing here strips arm64 binaries');
    for (const line of sizesOf(of('arm64').built)) expect(line, line.what).toMatchObject({ holds: true });
  });

  it('is the same to the byte when it is built again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-again-'));
    try {
      const arch = architectureOf('amd64');
      const again = await buildPackage({ arch, out: folder, compression: 'fast' });
      expect(sha256(again.file)).toBe(sha256(of('amd64').built.file));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('has maintainer scripts that a strict shell accepts and a unit that systemd accepts', () => {
    const data = join(import.meta.dirname, '..', '..', 'agent', 'package');
    for (const script of ['postinst', 'prerm', 'postrm', 'skein-agent', 'skein-model'])
      execFileSync('sh', ['-n', join(data, script)]);
    const unit = readFileSync(join(of('arm64').root, 'usr/lib/systemd/system/skein-agent.service'), 'utf8');
    for (const line of ['User=skein', 'NoNewPrivileges=yes', 'ProtectSystem=strict', 'Restart=always'])
      expect(unit).toMatch(new RegExp(`^${line}$`, 'm'));
    expect(unit).toMatch(/^SystemCallFilter=.*@pkey/m);
    expect(unit).not.toMatch(/^MemoryDenyWriteExecute=yes/m);
  });

  it('forgets compiled code when the process crashed, and only then', () => {
    const unit = readFileSync(join(of('arm64').root, 'usr/lib/systemd/system/skein-agent.service'), 'utf8');
    const shell = /^ExecStopPost=-\/bin\/sh -c '(.*)'$/m.exec(unit)![1]!;
    const cache = mkdtempSync(join(tmpdir(), 'skein-cache-'));
    try {
      const keptAfter = (status: string) => {
        mkdirSync(join(cache, 'skein-agent', 'scripts'), { recursive: true });
        const script = shell.replaceAll('$$', '$').replaceAll('%C', cache);
        execFileSync('/bin/sh', ['-c', script], { env: { PATH: process.env.PATH, EXIT_STATUS: status } });
        return readdirSync(join(cache, 'skein-agent'));
      };
      for (const status of ['SEGV', 'ILL', 'ABRT']) expect(keptAfter(status)).toEqual([]);
      for (const status of ['0', '1', 'TERM', 'KILL']) expect(keptAfter(status)).toEqual(['scripts']);
    } finally {
      rmSync(cache, { recursive: true, force: true });
    }
  });

  it('runs here: says its version and verifies the host model on its own Node', () => {
    const bin = join(of(NATIVE).root, 'usr', 'bin');
    const version = runProgram(join(bin, 'skein-agent'), ['--version']);
    expect(version).toMatchObject({ status: 0, stdout: expect.stringContaining(of(NATIVE).built.version) });
    const verified = runProgram(join(bin, 'skein-model'), ['verify', BUNDLE]);
    expect(verified.status, verified.stderr).toBe(0);
  });
});
