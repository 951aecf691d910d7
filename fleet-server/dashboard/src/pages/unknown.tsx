import { hrefTo } from '../routes.ts';
import { PageHead } from '../ui/page-head.tsx';

export function UnknownPage() {
  return (
    <>
      <PageHead title="There is no such page" />
      <p>
        The address may be mistyped. <a href={hrefTo({ page: 'fleet' })}>Go to the fleet</a>.
      </p>
    </>
  );
}
