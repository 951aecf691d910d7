import type { DeviceSummary } from '@skein/protocol/api.ts';
import { count } from '../data/format.ts';
import { countOf, FILTERS, type Filter } from './select.ts';

const TONE: Record<Filter, string> = { online: '', offline: 'warn', warnings: 'bad', drift: 'drift' };

/** The four counts; each is also the filter that shows its devices. */
export function Tiles({
  devices,
  filter,
  onFilter,
}: {
  devices: readonly DeviceSummary[];
  filter: Filter | undefined;
  onFilter(filter: Filter | undefined): void;
}) {
  const known = devices.filter((device) => !device.revoked).length;
  const words: Record<Filter, string> = {
    online: `of ${count(known)} online`,
    offline: 'offline',
    warnings: 'with warnings',
    drift: 'drifting',
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset would announce these counts as a form
    <div class="tiles" role="group" aria-label="Fleet at a glance; press one to filter">
      {FILTERS.map((name) => {
        const n = countOf(devices, name);
        return (
          <button
            type="button"
            key={name}
            class={n > 0 ? `tile ${TONE[name]}` : 'tile'}
            aria-pressed={filter === name}
            onClick={() => onFilter(filter === name ? undefined : name)}
          >
            <b>{count(n)}</b>
            <span>{words[name]}</span>
          </button>
        );
      })}
    </div>
  );
}
