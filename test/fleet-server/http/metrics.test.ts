import { createMetrics } from '@skein/fleet-server/http/metrics.ts';
import { expect, it } from 'vitest';

const none = { devices: () => 0, devicesOnline: () => 0, streamClients: () => 0 };

it.each([true, false])('says whether the broker is reached: %s', async (reached) => {
  const text = await createMetrics({ ...none, brokerReached: () => reached }).text();
  expect(text).toMatch(new RegExp(`^skein_broker_reached ${Number(reached)}$`, 'm'));
});
