/** Broker (embedded or external) and ingest of a fleet server in a process of its own, made to be killed. */
import { readFileSync } from 'node:fs';
import { startAedesBroker } from '../../../fleet-server/src/broker/aedes-broker.ts';
import { connectMqttBroker } from '../../../fleet-server/src/broker/mqtt-broker.ts';
import type { Broker } from '../../../fleet-server/src/broker/port.ts';
import { startIngest } from '../../../fleet-server/src/ingest/run-ingest.ts';
import { openSqliteStore } from '../../../fleet-server/src/store/sqlite-store.ts';
import { nativeSigner, nativeVerify, systemClock } from '../../../fleet-server/src/system-clock.ts';

export interface ServerSettings {
  store: string;
  fleet: string;
  ackSeed: string;
  embedded?: { port: number; tls: { key: string; cert: string; ca: string } };
  /** URL of a broker of somebody else's. */
  external?: string;
}

const settings = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as ServerSettings;
const { fleet, embedded, external } = settings;
const log = {
  info() {},
  warn() {},
  error: (message: string, data?: object) =>
    void process.stdout.write(`t ${message} ${JSON.stringify(data)}\n`),
};
const maxPacketBytes = 2 << 20;

async function openBroker(): Promise<Broker> {
  if (embedded) {
    const devices = { host: '127.0.0.1', port: embedded.port, variable: 'SKEIN_MQTTS_PORT' };
    const local = { host: '127.0.0.1', port: 0, variable: 'SKEIN_MQTT_PORT' };
    const mayConnect = async () => true;
    return startAedesBroker({ fleet, tls: embedded.tls, devices, local, maxPacketBytes, mayConnect, log });
  }
  for (;;) {
    try {
      return await connectMqttBroker({ url: external!, fleet, maxPacketBytes, log });
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const store = await openSqliteStore(settings.store);
startIngest({
  store,
  broker: await openBroker(),
  fleet,
  ackSigner: nativeSigner(Buffer.from(settings.ackSeed, 'hex')),
  verify: nativeVerify,
  clock: systemClock,
  log,
  sinks: [],
});
/** The test itself is gone: nobody else would end this. */
process.stdin.on('end', () => process.exit(1)).resume();
process.stdout.write('ready\n');
