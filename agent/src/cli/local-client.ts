/** Asks the running agent through its local API. Its address is in `<stateDir>/api.json` while it runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERROR_CODES, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
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

/** Of the device itself, which may be busy with other things. */
const STATUS_WITHIN_MS: Millis = 10 * SECOND;
/** The agent's own limit for an inference is what ends it. */
const PREDICTION_WITHIN_MS: Millis = 40 * SECOND;

const notRunning = (url: string, cause: unknown): SkeinError =>
  new SkeinError('UNREACHABLE', `no agent answers at ${url}`, {
    cause,
    fix: 'Start it with `skein-agent run`, or give the --config that it runs with.',
  });

const LOOK = 'Look with `ss -ltnp` who listens there, or give the --config that the agent runs with.';

const silent = (url: string, withinMs: Millis, cause: unknown): SkeinError =>
  new SkeinError(
    'UNREACHABLE',
    `something listens at ${url} and did not answer within ${withinMs / SECOND} s`,
    {
      cause,
      fix: `${LOOK} Where it is the agent, it stands still or the device is overloaded.`,
    },
  );

async function call(config: Config, path: string, withinMs: Millis, init?: RequestInit): Promise<unknown> {
  const url = apiUrl(config);
  const token = readToken(config);
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  let response: Response;
  try {
    response = await fetch(url + path, { ...init, headers, signal: AbortSignal.timeout(withinMs) });
  } catch (cause) {
    throw (cause as Error).name === 'TimeoutError' ? silent(url, withinMs, cause) : notRunning(url, cause);
  }
  const body: unknown = await response.json().catch(() => undefined);
  const known = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : undefined;
  if (response.ok && known) return known;
  throw refusal(url, response.status, known);
}

/** @param body JSON that came with it, if any */
function refusal(url: string, status: number, body: Record<string, unknown> | undefined): SkeinError {
  if (!body)
    return new SkeinError('UNREACHABLE', `what answers at ${url} is not the agent (status ${status})`, {
      fix: LOOK,
    });
  const { code: said, error = `status ${status}`, fix } = body;
  const code = Object.hasOwn(ERROR_CODES, String(said)) ? (said as ErrorCode) : 'INTERNAL';
  const message = String(error).replace(`${code}: `, '');
  return new SkeinError(code, message, typeof fix === 'string' ? { fix } : {});
}

/** @throws SkeinError UNREACHABLE when no agent runs, or none answers */
export const fetchStatus = (config: Config, withinMs: Millis = STATUS_WITHIN_MS): Promise<AgentStatus> =>
  call(config, '/status', withinMs) as Promise<AgentStatus>;

/** @throws SkeinError UNREACHABLE, NOT_FOUND, REQUEST_INVALID, INPUT_NOT_FINITE, IMAGE_INVALID */
export const requestPrediction = (
  config: Config,
  model: string,
  request: { values: unknown } | { image: string },
): Promise<unknown> =>
  call(config, `/v1/predict/${encodeURIComponent(model)}`, PREDICTION_WITHIN_MS, {
    method: 'POST',
    body: JSON.stringify(request),
  });
