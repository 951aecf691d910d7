/** Open incidents in `incidents.json`, written whole. A loss costs an `end` message, so it is not synced to disk. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Incident } from '@skein/protocol/messages.ts';
import type { Log } from '@skein/protocol/ports.ts';
import { checker, strict } from '@skein/protocol/schema.ts';
import { Type } from 'typebox';
import type { IncidentStore } from './incidents.ts';

const parse = checker(
  Type.Array(strict({ id: Type.String({ maxLength: 64 }), incident: Incident }), { maxItems: 256 }),
  'DISK_FAILED',
);

export function diskIncidents(path: string, log: Log): IncidentStore {
  return {
    load() {
      try {
        return parse.parse(readFileSync(path), path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
          log.warn('open incidents are forgotten', { error: (error as Error).message });
        return [];
      }
    },
    save(open) {
      try {
        writeFileSync(`${path}.part`, JSON.stringify(open), { mode: 0o600 });
        renameSync(`${path}.part`, path);
      } catch (error) {
        log.warn('open incidents cannot be saved', { error: (error as Error).message });
      }
    },
  };
}
