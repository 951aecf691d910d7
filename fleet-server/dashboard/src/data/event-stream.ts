/**
 * The page's one connection for live data. `fetch` instead of EventSource, because that one gives up for good on
 * an HTTP error, hides the status (401 means: sign in) and cannot carry `Last-Event-ID` over to a new connection.
 * Silence for 45 s counts as lost (the server sends heartbeats). Retries after 1, 2, 4 … 30 s with jitter.
 */
import { endpointOf } from '@skein/protocol/endpoints.ts';
import { signedOut } from './session.ts';
import { type ServerEvent, SseParser } from './sse.ts';

export type Connection =
  | { state: 'connecting' }
  | { state: 'open' }
  | { state: 'lost'; attempt: number; retryAt: number };

export interface StreamHandlers {
  event(event: ServerEvent): void;
  connection(connection: Connection): void;
  /** A connection stands; whatever happened while there was none must be read anew. */
  opened(): void;
}

const SILENCE_MS = 45_000;
const LONGEST_RETRY_MS = 30_000;

export const retryDelayMs = (attempt: number, random: number): number =>
  Math.min(LONGEST_RETRY_MS, 1000 * 2 ** Math.min(attempt, 10)) * (0.75 + random / 2);

export interface LiveStream {
  retryNow(): void;
  close(): void;
}

export function openEventStream(handlers: StreamHandlers): LiveStream {
  const parser = { current: new SseParser() };
  let attempt = 0;
  let closed = false;
  let abort = new AbortController();
  let retry: ReturnType<typeof setTimeout> | undefined;

  const connect = async (): Promise<void> => {
    abort = new AbortController();
    try {
      await follow(abort, parser, handlers, () => {
        attempt = 0;
      });
    } catch {
      // A lost connection is a state that is shown, not an error.
    }
    if (closed || signedOut.value) return;
    const delay = retryDelayMs(attempt++, Math.random());
    handlers.connection({ state: 'lost', attempt, retryAt: Date.now() + delay });
    retry = setTimeout(connect, delay);
  };
  const retryNow = (): void => {
    clearTimeout(retry);
    void connect();
  };
  void connect();
  return {
    retryNow,
    close: () => {
      closed = true;
      clearTimeout(retry);
      abort.abort();
    },
  };
}

async function follow(
  abort: AbortController,
  parser: { current: SseParser },
  handlers: StreamHandlers,
  opened: () => void,
): Promise<void> {
  const lastEventId = parser.current.lastEventId;
  const response = await fetch(endpointOf('events').path, {
    headers: { accept: 'text/event-stream', ...(lastEventId ? { 'last-event-id': lastEventId } : {}) },
    signal: abort.signal,
  });
  if (response.status === 401) signedOut.value = true;
  if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
  // A half-received event belongs to the old connection; only its id is kept.
  parser.current = new SseParser();
  parser.current.lastEventId = lastEventId;
  opened();
  handlers.connection({ state: 'open' });
  handlers.opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const silence = setTimeout(() => abort.abort(), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    for (const event of parser.current.push(value)) handlers.event(event);
  }
}
