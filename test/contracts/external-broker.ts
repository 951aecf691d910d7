/** Mosquitto, and the server as a client of it. */
import { connectMqttBroker } from '@skein/fleet-server/broker/mqtt-broker.ts';
import { systemClock } from '@skein/fleet-server/system-clock.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { FLEET, type Parties, silent } from './broker-parties.ts';
import { findMosquitto, startMosquitto } from './mosquitto.ts';

export async function startExternal(parties: Parties, maxPacketBytes: Bytes) {
  const mosquitto = await startMosquitto(findMosquitto()!, parties, FLEET);
  const { mqtts, mqtt, pid } = mosquitto;
  const url = `mqtt://127.0.0.1:${mqtt}`;
  const broker = await connectMqttBroker({
    ...{ url, fleet: FLEET, maxPacketBytes },
    ...{ clock: systemClock, log: silent },
  });
  const stop = async () => {
    await broker.close();
    await mosquitto.stop();
  };
  return { broker, mqtts, mqtt, pid, stop };
}
