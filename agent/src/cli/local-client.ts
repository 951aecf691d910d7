/** Asks the running agent through its local API. Its address is in `<stateDir>/api.json` while it runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERROR_CODES, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { AgentStatus } from '../api/status.ts';
import type { Config } from '../config/schema.ts';
import { readToken } from './settings.ts';

export const addressFile = (stateDir: string): string => join(stateDir, 'api.json');

/**
 * Where the API listens: what the running agent wrote (its port may be a free one), else what is configured. A checkout's
 * `SKEIN_STATE_DIR` may name the folder of server and agent together.
 */
export function apiUrl({ stateDir, api }: Config): string {
  const known = [stateDir, join(stateDir, 'agent')].map((folder) => urlIn(addressFile(folder)));
  return known.find((url) => url !== undefined) ?? `http://${api.host}:${api.port}`;
}

function urlIn(file: string): string | undefined {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { url: string }).url;
  } catch {
    return undefined;
  }
}

const notRunning = (url: string, cause: unknown): SkeinError =>
  new SkeinError('UNREACHABLE', `no agent answers at ${url}`, {
    cause,
    fix: 'Start it with `skein-agent run`, or give the --config that it runs with.',
  });

async function call(config: Config, path: string, init?: RequestInit): Promise<unknown> {
  const url = apiUrl(config);
  const token = readToken(config);
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  let response: Response;
  try {
    response = await fetch(url + path, { ...init, headers, signal: AbortSignal.timeout(30_000) });
  } catch (cause) {
    throw notRunning(url, cause);
  }
  const body = (await response.json().catch(() => ({}))) as { error?: string; code?: string; fix?: string };
  if (response.ok) return body;
  const code = body.code && Object.hasOwn(ERROR_CODES, body.code) ? (body.code as ErrorCode) : 'INTERNAL';
  const message = (body.error ?? `status ${response.status}`).replace(`${code}: `, '');
  throw new SkeinError(code, message, body.fix ? { fix: body.fix } : {});
}

/** @throws SkeinError UNREACHABLE when no agent runs */
export const fetchStatus = (config: Config): Promise<AgentStatus> =>
  call(config, '/status') as Promise<AgentStatus>;

/** @throws SkeinError UNREACHABLE, NOT_FOUND, REQUEST_INVALID, INPUT_NOT_FINITE, IMAGE_INVALID */
export const requestPrediction = (
  config: Config,
  model: string,
  request: { values: unknown } | { image: string },
): Promise<unknown> =>
  call(config, `/v1/predict/${encodeURIComponent(model)}`, {
    method: 'POST',
    body: JSON.stringify(request),
  });
