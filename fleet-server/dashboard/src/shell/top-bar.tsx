import { connection } from '../data/store.ts';
import { route } from '../router.ts';
import { hrefTo, type Route } from '../routes.ts';
import { Icon, type IconName, Mark } from '../ui/icons.tsx';
import { ThemeButton } from './theme-button.tsx';

const TABS: { icon: IconName; text: string; to: Route; pages: Route['page'][] }[] = [
  { icon: 'fleet', text: 'Fleet', to: { page: 'fleet' }, pages: ['fleet', 'device'] },
  { icon: 'models', text: 'Models', to: { page: 'models' }, pages: ['models'] },
  {
    icon: 'rollouts',
    text: 'Rollouts',
    to: { page: 'rollouts' },
    pages: ['rollouts', 'rollout', 'new-rollout'],
  },
  { icon: 'drift', text: 'Drift', to: { page: 'drift' }, pages: ['drift'] },
];

export function TopBar({ inside }: { inside: boolean }) {
  return (
    <header class="top">
      <div class="top-inner">
        <a class="brand" href={hrefTo({ page: 'fleet' })}>
          <Mark />
          Skein
        </a>
        {inside && <Tabs />}
        <div class="top-end">
          {inside && <LinkState />}
          <ThemeButton />
        </div>
      </div>
    </header>
  );
}

function Tabs() {
  return (
    <nav class="tabs" aria-label="Main">
      {TABS.map((tab) => (
        <a
          key={tab.text}
          href={hrefTo(tab.to)}
          aria-current={tab.pages.includes(route.value.page) ? 'page' : undefined}
        >
          <Icon name={tab.icon} />
          {tab.text}
        </a>
      ))}
    </nav>
  );
}

function LinkState() {
  const words = { connecting: 'Connecting', open: 'Live', lost: 'Not connected' };
  const dots = { connecting: 'dot wait', open: 'dot on', lost: 'dot' };
  const { state } = connection.value;
  return (
    <span class="link-state">
      <span class={dots[state]} aria-hidden="true" />
      {words[state]}
    </span>
  );
}
