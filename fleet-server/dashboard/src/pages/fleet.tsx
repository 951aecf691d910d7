import { useEffect, useState } from 'preact/hooks';
import { metricOf } from '../data/metric.ts';
import { deviceList, devices, loadProblem, reload } from '../data/store.ts';
import { DeviceTable } from '../fleet/device-table.tsx';
import { chooseHealth, healthMetrics, healthShown } from '../fleet/health-choice.ts';
import { NoDevices } from '../fleet/no-devices.tsx';
import { seedScores } from '../fleet/seed-scores.ts';
import { type Filter, selectDevices } from '../fleet/select.ts';
import { Tiles } from '../fleet/tiles.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';

export function FleetPage() {
  const [filter, setFilter] = useState<Filter>();
  const [words, setWords] = useState('');
  const list = selectDevices(deviceList.value, filter, words);
  const ids = list.map((device) => device.id).join(' ');
  useEffect(() => seedScores(ids.split(' ').filter(Boolean)), [ids]);

  if (!devices.value)
    return (
      <>
        <PageHead title="Fleet" />
        {loadProblem.value ? (
          <Problem problem={loadProblem.value} retry={() => void reload()} />
        ) : (
          <p class="loading">Loading the fleet…</p>
        )}
      </>
    );
  return (
    <>
      <PageHead title="Fleet" />
      {devices.value.size === 0 ? (
        <NoDevices />
      ) : (
        <>
          <Tiles devices={deviceList.value} filter={filter} onFilter={setFilter} />
          <section class="card flush" aria-label="Devices">
            <Toolbar words={words} onWords={setWords} />
            <DeviceTable devices={list} metric={healthShown(healthMetrics())} />
          </section>
        </>
      )}
    </>
  );
}

function Toolbar({ words, onWords }: { words: string; onWords(words: string): void }) {
  const metrics = healthMetrics();
  return (
    <div class="toolbar">
      <label>
        <span class="visually-hidden">Find devices</span>
        <input
          type="search"
          placeholder="Find by name, group or model"
          value={words}
          onInput={(event) => onWords(event.currentTarget.value)}
        />
      </label>
      {metrics.length > 0 && (
        <label class="end">
          Health
          <select value={healthShown(metrics)} onChange={(event) => chooseHealth(event.currentTarget.value)}>
            {metrics.map((name) => (
              <option key={name} value={name}>
                {metricOf(name).title}
              </option>
            ))}
          </select>
        </label>
      )}
    </div>
  );
}
