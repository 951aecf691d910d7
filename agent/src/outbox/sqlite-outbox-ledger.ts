/** What the rows have to tell of a stream's ledger; also for a program that reads the file while no agent runs. */
import { existsSync } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import type { StreamLedger } from './port.ts';
import { type ChunkQueries, chunkQueries } from './sqlite-outbox-chunks.ts';
import { diskError } from './sqlite-outbox-file.ts';
import { type OutboxQueries, outboxQueries } from './sqlite-outbox-queries.ts';
import { ledgerOf } from './stream-state.ts';

export function pendingOf(
  { queries, chunks }: { queries: OutboxQueries; chunks: ChunkQueries },
  stream: Stream,
): Pick<StreamLedger, 'pending' | 'pendingBytes' | 'oldestPendingAt'> {
  const [sealed, loose] = [queries.totals(stream), chunks.totals(stream)];
  return {
    pending: sealed.n + loose.n,
    pendingBytes: sealed.bytes + loose.bytes,
    oldestPendingAt: sealed.at ?? loose.at,
  };
}

/** The ledger as the file has it; nothing is changed. @throws SkeinError NOT_FOUND, OUTBOX_CORRUPT, DISK_FAILED */
export function readLedger(path: string): StreamLedger[] {
  if (!existsSync(path))
    throw new SkeinError('NOT_FOUND', `no buffer at ${path}`, {
      fix: 'Give the --config that the agent runs with; the buffer is made when it first starts.',
    });
  let database: Database.Database | undefined;
  try {
    const opened = new Database(path, { readonly: true });
    database = opened;
    const parts = { queries: outboxQueries(opened), chunks: chunkQueries(opened) };
    return STREAMS.flatMap((stream) => {
      const state = parts.queries.loadState(stream);
      return state ? [{ ...ledgerOf(state), ...pendingOf(parts, stream), waiting: 0, refused: 0 }] : [];
    });
  } catch (cause) {
    throw diskError(cause);
  } finally {
    database?.close();
  }
}
