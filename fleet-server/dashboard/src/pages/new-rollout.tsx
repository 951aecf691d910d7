import { call } from '../data/client.ts';
import { useRequest } from '../data/use-request.ts';
import { RolloutForm } from '../rollouts/form.tsx';
import { hrefTo } from '../routes.ts';
import { Empty } from '../ui/empty.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';

export function NewRolloutPage({
  model,
  version,
}: {
  model: string | undefined;
  version: string | undefined;
}) {
  const { data, problem, reload } = useRequest(() => call('listModels'), ['models']);
  return (
    <>
      <PageHead title="New rollout" crumb={<a href={hrefTo({ page: 'rollouts' })}>Rollouts</a>} />
      {problem && <Problem problem={problem} retry={reload} />}
      {!data && !problem && <p class="loading">Loading models…</p>}
      {data?.items.length === 0 && (
        <Empty
          title="There is no model to roll out"
          steps={[
            {
              say: 'Sign a bundle with your key and upload it.',
              command: 'npx skein models publish bundle',
            },
          ]}
        />
      )}
      {data && data.items.length > 0 && (
        <RolloutForm models={data.items} chosen={model && version ? `${model}@${version}` : undefined} />
      )}
    </>
  );
}
