import type { ModelView } from '@skein/protocol/api.ts';
import { call } from '../data/client.ts';
import { useRequest } from '../data/use-request.ts';
import { ModelCard } from '../models/model-card.tsx';
import { TrustCard } from '../models/trust-card.tsx';
import { Empty } from '../ui/empty.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';

const REFRESH_MS = 10_000;

export function ModelsPage() {
  const { data, problem, reload } = useRequest(() => call('listModels'), ['models'], REFRESH_MS);
  return (
    <>
      <PageHead title="Models" />
      {problem && <Problem problem={problem} retry={reload} />}
      {!data && !problem && <p class="loading">Loading models…</p>}
      {data?.items.length === 0 && <NoModels />}
      {byName(data?.items ?? []).map(([name, versions]) => (
        <ModelCard key={name} name={name} versions={versions} />
      ))}
      <TrustCard />
    </>
  );
}

/** Newest release first within a name. */
function byName(models: ModelView[]): [string, ModelView[]][] {
  const names = Map.groupBy(models, (model) => model.name);
  return [...names].map(([name, versions]) => [name, versions.sort((a, b) => b.release - a.release)]);
}

function NoModels() {
  return (
    <Empty
      title="No model is published yet"
      steps={[
        {
          say: 'Try an ONNX file as a device would run it.',
          command: 'npx skein-model try MODEL.onnx 1,2,3,4',
        },
        {
          say: 'Make a bundle: variants, golden vectors, drift profile.',
          command:
            'npx skein-model pack MODEL.onnx --name NAME --version 1.0.0 --calibrate DATA.csv -o bundle',
        },
        { say: 'Sign it with your key and upload it.', command: 'npx skein models publish bundle' },
      ]}
    >
      <p>
        Devices run only what an offline key has approved, so publishing happens where that key is, not here.
      </p>
    </Empty>
  );
}
