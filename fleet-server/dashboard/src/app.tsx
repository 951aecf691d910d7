import { signedOut } from './data/session.ts';
import { DevicePage } from './pages/device.tsx';
import { DriftPage } from './pages/drift.tsx';
import { FleetPage } from './pages/fleet.tsx';
import { LoginPage } from './pages/login.tsx';
import { ModelsPage } from './pages/models.tsx';
import { NewRolloutPage } from './pages/new-rollout.tsx';
import { RolloutPage } from './pages/rollout.tsx';
import { RolloutsPage } from './pages/rollouts.tsx';
import { SignedOutPage } from './pages/signed-out.tsx';
import { UnknownPage } from './pages/unknown.tsx';
import { route } from './router.ts';
import type { Route } from './routes.ts';
import { ConnectionBanner } from './shell/connection-banner.tsx';
import { Footer } from './shell/footer.tsx';
import { ServerBanner } from './shell/server-banner.tsx';
import { TopBar } from './shell/top-bar.tsx';
import { TrustBanner } from './shell/trust-banner.tsx';

export function App() {
  const here = route.value;
  const inside = !signedOut.value && here.page !== 'login';
  return (
    <>
      <button type="button" class="skip button" onClick={skip}>
        Skip to content
      </button>
      <TopBar inside={inside} />
      {inside && <ConnectionBanner />}
      {inside && <ServerBanner />}
      {inside && <TrustBanner />}
      <main id="content" tabIndex={-1}>
        {signedOut.value && here.page !== 'login' ? <SignedOutPage /> : <Page here={here} />}
      </main>
      {inside && <Footer />}
    </>
  );
}

/** A button, not a link: the hash is the route and must not change. */
function skip(): void {
  document.getElementById('content')?.focus();
}

function Page({ here }: { here: Route }) {
  switch (here.page) {
    case 'fleet':
      return <FleetPage />;
    case 'device':
      return <DevicePage key={here.id} id={here.id} />;
    case 'models':
      return <ModelsPage />;
    case 'rollouts':
      return <RolloutsPage />;
    case 'new-rollout':
      return <NewRolloutPage model={here.model} version={here.version} />;
    case 'rollout':
      return <RolloutPage key={here.id} id={here.id} />;
    case 'drift':
      return <DriftPage key={here.device} device={here.device} />;
    case 'login':
      return <LoginPage secret={here.secret} />;
    case 'unknown':
      return <UnknownPage />;
  }
}
