/** Fills the sparklines of the first devices from stored predictions, once, so that they need not start empty. */
import { call } from '../data/client.ts';
import { MAX_READINGS, type Reading, seedReadings } from '../data/live.ts';

const AT_MOST = 24;
const seeded = new Set<string>();

export function seedScores(ids: readonly string[]): void {
  for (const id of ids.filter((each) => !seeded.has(each)).slice(0, AT_MOST - seeded.size)) {
    seeded.add(id);
    call('devicePredictions', { params: { id }, query: { limit: MAX_READINGS } }).then(
      ({ ts, values }) => {
        const stored = ts.map(
          (at, i): Reading => ({ ts: at, values: { score: values.score?.[i] ?? Number.NaN } }),
        );
        seedReadings(id, stored);
      },
      () => seeded.delete(id),
    );
  }
}
