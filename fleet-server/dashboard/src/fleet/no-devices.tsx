import { server } from '../data/store.ts';
import { Empty, type Step } from '../ui/empty.tsx';

/** Nobody has enrolled yet: the exact commands, with this server's own address in them. */
export function NoDevices() {
  const view = server.value;
  const steps: Step[] = [
    ...(view && !view.trustReady
      ? [
          {
            say: 'Make the root and publisher keys; they stay on your machine.',
            command: 'npx skein keys init',
          },
        ]
      : []),
    { say: 'Make a claim token.', command: 'npx skein tokens create' },
    {
      say: 'On the device: enrol with that token, then start the agent.',
      command: `skein-agent enroll --server ${view?.deviceUrl ?? 'URL'} --token TOKEN && skein-agent run`,
    },
  ];
  return (
    <Empty title="No device has enrolled yet" steps={steps}>
      <p>A device appears here by itself the moment it enrols.</p>
    </Empty>
  );
}
