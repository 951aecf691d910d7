/** `scripts/tuf-client`: the command line that TUF's conformance suite asks for, over the agent's verifier and store. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '@skein/agent/system-clock.ts';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { describeError, SkeinError } from '@skein/protocol/errors.ts';
import { TufClient } from './tuf/client.ts';
import { diskMetadataFolder } from './tuf/disk-folder.ts';
import { downloadTarget } from './tuf/download.ts';
import { httpMirror } from './tuf/http-mirror.ts';

const HELP = `Usage: scripts/tuf-client --metadata-dir DIR [options] COMMAND

Commands:
  init ROOT.json   trust this root; asks nothing of the network
  refresh          bring root, timestamp, snapshot and targets up to date (TUF 1.0.34, clause 5)
  download         refresh, then fetch and verify each --target-name in order; the first that fails ends it

Options:
  --metadata-dir DIR      what is trusted: trust.db and its guard, and a readable copy of each document
  --metadata-url URL      where the repository's metadata is
  --target-name PATH      a target, also several times
  --target-base-url URL   where the repository's targets are
  --target-dir DIR        where verified targets are put; one that is there already is not fetched again
  -h, --help

Exit codes: 0 done, 1 anything else (standard error says why).

Example:
  scripts/tuf-client --metadata-dir /tmp/m init root.json
  scripts/tuf-client --metadata-dir /tmp/m --metadata-url http://localhost:8888/metadata refresh
  scripts/tuf-client --metadata-dir /tmp/m --metadata-url http://localhost:8888/metadata \\
    --target-name a/b.txt --target-base-url http://localhost:8888/targets --target-dir /tmp/t download
`;

const text = { type: 'string' } as const;
const OPTIONS = {
  'metadata-dir': text,
  'metadata-url': text,
  'target-name': { type: 'string', multiple: true },
  'target-base-url': text,
  'target-dir': text,
  help: { type: 'boolean', short: 'h' },
} as const;

type Options = ReturnType<typeof parse>['values'];

const wrong = (message: string, cause?: unknown) =>
  new SkeinError('REQUEST_INVALID', message, { cause, fix: 'See `scripts/tuf-client --help`.' });

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (cause) {
    throw wrong((cause as Error).message, cause);
  }
}

type Needed = 'metadata-dir' | 'metadata-url' | 'target-base-url' | 'target-dir';

function need(options: Options, name: Needed): string {
  const value = options[name];
  if (value === undefined) throw wrong(`--${name} is missing`);
  return value;
}

function readRoot(path: string | undefined): Uint8Array {
  if (path === undefined) throw wrong('init needs the file of a trusted root');
  try {
    return readFileSync(path);
  } catch (cause) {
    throw wrong(`${path}: ${(cause as Error).message}`, cause);
  }
}

async function download(client: TufClient, options: Options): Promise<void> {
  const names = options['target-name'] ?? [];
  if (names.length === 0) throw wrong('--target-name is missing');
  const where = { baseUrl: need(options, 'target-base-url'), folder: need(options, 'target-dir') };
  await client.refresh();
  for (const name of names) await downloadTarget(await client.find(name), where, systemClock);
}

async function run(command: string, root: string | undefined, options: Options): Promise<void> {
  const folder = need(options, 'metadata-dir');
  mkdirSync(folder, { recursive: true });
  const store = new SqliteTrustStore(join(folder, 'trust.db'));
  try {
    const parts = { store, clock: systemClock, folder: diskMetadataFolder(folder) };
    if (command === 'init') return new TufClient(parts).init(readRoot(root));
    const client = new TufClient({ ...parts, mirror: httpMirror(need(options, 'metadata-url')) });
    if (command === 'refresh') await client.refresh();
    else if (command === 'download') await download(client, options);
    else throw wrong(`there is no command ${command}`);
  } finally {
    store.close();
  }
}

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parse(args);
  const [command, root] = positionals;
  if (values.help) process.stdout.write(HELP);
  else if (command === undefined) throw wrong('a command is missing');
  else await run(command, root, values);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`tuf-client: ${describeError(error)}\n`);
  process.exitCode = 1;
}
