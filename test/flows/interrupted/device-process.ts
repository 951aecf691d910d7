/** A device in a process of its own, to be killed: it says what its operator would read. */

import type { AgreedOrder } from '../../../agent/src/update/ports.ts';
import { openDevice } from '../../../scripts/bench/download/device.ts';
import type { Fleet } from '../../../scripts/bench/download/wire.ts';

export interface DeviceStart {
  directory: string;
  url: string;
  fleet: Fleet;
  agreed: AgreedOrder;
}

process.on('message', async ({ directory, url, fleet, agreed }: DeviceStart) => {
  const device = await openDevice(directory, url, fleet, {}, [agreed]);
  // What a start finds, before anybody ordered anything.
  process.send!({ found: device.status(), message: device.messages.at(-1) });
  setInterval(() => process.send!({ status: device.status(), message: device.messages.at(-1) }), 20);
  await device.update(agreed);
  process.send!({ status: device.status(), message: device.messages.at(-1) }, () => process.exit());
});
process.on('disconnect', () => process.exit());
