import type { DeviceView } from '@skein/protocol/api.ts';
import { count, shortHash } from '../data/format.ts';
import { RelativeTime } from '../ui/relative-time.tsx';

/** What the server holds of each stream: nothing is missing without a reason, so drops are shown beside. */
export function Ledger({ streams }: { streams: DeviceView['streams'] }) {
  return (
    <section class="card flush" aria-labelledby="ledger-title">
      <header>
        <h2 id="ledger-title">Streams</h2>
        <span class="small muted">records stored here and records the device dropped</span>
      </header>
      {streams.length === 0 ? (
        <p class="loading">No batch has come yet.</p>
      ) : (
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Stream</th>
              <th scope="col" class="number">
                Stored
              </th>
              <th scope="col" class="number">
                Dropped
              </th>
              <th scope="col" class="number">
                Next
              </th>
              <th scope="col">Last batch</th>
            </tr>
          </thead>
          <tbody>
            {streams.map((each) => (
              <tr key={`${each.stream} ${each.epoch}`}>
                <td>
                  {each.stream}{' '}
                  <span class="small muted mono" title={`epoch ${each.epoch}`}>
                    {epoch(each.epoch)}
                  </span>
                </td>
                <td class="number">{count(each.stored)}</td>
                <td class="number">{count(each.dropped)}</td>
                <td class="number">{count(each.nextSeq)}</td>
                <td>
                  <RelativeTime at={each.updatedAt} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const epoch = (id: string): string => (id.length > 14 ? shortHash(id) : id);
