/** Where the configuration is, and what is in it. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { AtRestConfig } from '../config/at-rest.ts';
import { type ConfigFile, parseConfig } from '../config/parse.ts';
import { problem } from '../config/problem.ts';
import type { Config } from '../config/schema.ts';
import { windowFault } from '../update/cron-windows.ts';
import { parseYaml } from './yaml-file.ts';

export interface Settings {
  config: Config;
  /** undefined: no file was found, all is default and environment. */
  file: string | undefined;
}

const PLACES = ['.skein/agent/agent.yaml', '/etc/skein/agent.yaml'];

/** `--config`, `SKEIN_AGENT_CONFIG`, this checkout's demo, or the system's file. */
function findFile(option: string | undefined, env: NodeJS.ProcessEnv): string | undefined {
  const named = option ?? env.SKEIN_AGENT_CONFIG;
  return named ?? PLACES.find((path) => existsSync(path));
}

/** A relative `stateDir` is meant from the file that says it. @throws SkeinError CONFIG_UNREADABLE, CONFIG_INVALID */
export function readSettings(option: string | undefined, env: NodeJS.ProcessEnv = process.env): Settings {
  const file = findFile(option, env);
  const parsed = parseYaml(file ? textOf(file) : '', file ?? 'defaults');
  const config = parseConfig(parsed, env);
  checkWindows(config, parsed);
  const fromEnv = env.SKEIN_AGENT_STATE_DIR || env.SKEIN_STATE_DIR;
  const base = file && !fromEnv ? dirname(file) : '.';
  const stateDir = resolve(base, config.stateDir);
  const { grpcSocket, socket, tokenFile } = config.api;
  const api = {
    ...config.api,
    ...(socket === undefined ? {} : { socket: resolve(stateDir, socket) }),
    ...(grpcSocket === undefined ? {} : { grpcSocket: resolve(stateDir, grpcSocket) }),
    ...(tokenFile === undefined ? {} : { tokenFile: resolve(file ? dirname(file) : '.', tokenFile) }),
  };
  const atRest = keyFilesFrom(file ? dirname(file) : '.', config.atRest);
  return { config: { ...config, stateDir, api, atRest }, file };
}

/** Relative to the configuration's folder. */
function keyFilesFrom(folder: string, atRest: AtRestConfig): AtRestConfig {
  const placed = <T extends { file?: string }>(key: T): T =>
    key.file === undefined ? key : { ...key, file: resolve(folder, key.file) };
  return { ...placed(atRest), previous: placed(atRest.previous) };
}

/** @throws SkeinError CONFIG_INVALID naming the line */
function checkWindows({ update }: Config, file: ConfigFile): void {
  update.windows.forEach((window, i) => {
    const fault = windowFault(window);
    if (fault === undefined) return;
    const path = ['update', 'windows', i];
    throw problem(`${file.name}:${file.lineOf(path)}`, path, fault);
  });
}

/** What `api.tokenFile` holds; undefined where none is configured. @throws SkeinError CONFIG_INVALID */
export function readToken({ api }: Pick<Config, 'api'>): string | undefined {
  if (api.tokenFile === undefined) return undefined;
  const wrong = (what: string, cause?: unknown) =>
    new SkeinError('CONFIG_INVALID', `api.tokenFile ${api.tokenFile} ${what}`, {
      cause,
      fix: 'Write one line of at least 16 characters without spaces: `openssl rand -hex 24 > FILE; chmod 600 FILE`.',
    });
  let text: string;
  try {
    text = readFileSync(api.tokenFile, 'utf8').trim();
  } catch (cause) {
    throw wrong('cannot be read', cause);
  }
  if (!/^[\x21-\x7e]{16,512}$/.test(text)) throw wrong('does not hold a token');
  return text;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SkeinError('CONFIG_UNREADABLE', `cannot read ${file}: ${(cause as Error).message}`, {
      cause,
      fix: 'Check the path given by --config or SKEIN_AGENT_CONFIG.',
    });
  }
}
