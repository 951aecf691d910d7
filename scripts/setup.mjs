// Plain JavaScript on purpose: it runs on whatever Node (20 or newer) the machine has, installs what is missing
// and then hands over to the pinned Node 24 from node_modules. A shell caches where `node` is, so the hand-over
// is a spawn of the pinned binary by path, never a second command in the same shell line.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, 'node_modules', '.bin');
const stamp = join(root, 'node_modules', '.skein-lock');
const pinned = join(bin, 'node');

const lockHash = () =>
  createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
const isInstalled = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === lockHash();

function install() {
  process.stderr.write('skein: installing dependencies (about 30 s the first time; no compiler needed)…\n');
  const started = Date.now();
  const npm = process.env.npm_execpath;
  const args = ['ci', '--loglevel=error'];
  const [command, prefix] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  const result = spawnSync(command, [...prefix, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    process.stderr.write(
      'skein: `npm ci` failed (see above).\n  → Check that the npm registry is reachable, then run the same command again.\n',
    );
    process.exit(result.status ?? 1);
  }
  writeFileSync(stamp, lockHash());
  process.stderr.write(`skein: installed in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

function runtime() {
  if (existsSync(pinned)) return pinned;
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  process.stderr.write(
    `skein: there is no pinned Node for ${process.platform}-${process.arch} and yours is ${process.version}.\n  → Install Node 24 or newer.\n`,
  );
  process.exit(1);
}

if (!isInstalled()) install();

const child = spawn(
  runtime(),
  ['--disable-warning=ExperimentalWarning', join(root, 'scripts', 'main.ts'), ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      PATH: `${bin}${delimiter}${process.env.PATH ?? ''}`,
      // Stripped and compiled modules are kept, which halves the start of every process of ours.
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, 'node_modules', '.cache', 'compiled'),
    },
  },
);
// A terminal sends Ctrl-C to the whole group, npm and others only to us: the child may hear it twice. We wait for its exit code.
process.on('SIGINT', () => child.kill('SIGINT'));
process.on('SIGTERM', () => child.kill('SIGTERM'));
process.on('SIGHUP', () => child.kill('SIGTERM'));
child.on('exit', (code, signal) => process.exit(signal ? 130 : (code ?? 1)));
