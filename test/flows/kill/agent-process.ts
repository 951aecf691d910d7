/**
 * The data plane of an agent in a process of its own, made to be killed: real outbox, drain and link, records as fast
 * as they come. Says on stdout what was accepted (`c <run> <predictions> <health>`: so many of this run), once the
 * commit returned; `finish` on stdin stops the records and asks for the ledger (`l <json>`) until nothing is pending.
 */
import { readFileSync } from 'node:fs';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { nativeSigner, nativeVerify, systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { createDrain } from '../../../agent/src/uplink/drain.ts';
import { openMqttLink } from '../../../agent/src/uplink/mqtt-link.ts';
import { healthOf, predictionOf } from './made-records.ts';

export interface AgentSettings {
  run: number;
  outbox: string;
  url: string;
  fleet: string;
  device: string;
  tls: { key: string; cert: string; ca: string };
  reportSeed: string;
  ackKey: string;
}

const settings = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as AgentSettings;
const { run, fleet, device } = settings;
const say = (line: string) => process.stdout.write(`${line}\n`);
const log = { info() {}, warn: trouble, error: trouble };
function trouble(message: string, data?: object): void {
  say(`t ${message} ${JSON.stringify(data ?? {})}`);
}

const outbox = openSqliteOutbox({
  path: settings.outbox,
  fleet,
  device,
  clock: systemClock,
  entropy: systemEntropy,
  signer: nativeSigner(Buffer.from(settings.reportSeed, 'hex')),
  reserveBytes: 0,
  trouble: (error) => trouble(`${error.code}: ${error.message}`),
});
const link = openMqttLink({
  url: settings.url,
  fleet,
  device,
  tls: () => settings.tls,
  keepaliveMs: 5_000,
  will: (session) => JSON.stringify({ online: 0, session, boot: `run-${run}`, agentVersion: '0' }),
  clock: systemClock,
  entropy: systemEntropy,
  log,
  reconnect: { baseMs: 50, capMs: 300 },
});
const drain = createDrain({
  link,
  outbox,
  device,
  ackKeys: () => [settings.ackKey],
  verify: nativeVerify,
  clock: systemClock,
  entropy: systemEntropy,
  log,
  batchIntervalMs: 60,
  answerTimeoutMs: 400,
  trouble: (error) => trouble(`${error.code}: ${error.message}`),
});

let predictions = 0;
let health = 0;
const produce = setInterval(() => {
  for (let n = 0; n < 4; n++) outbox.append('predictions', predictionOf(run, predictions++));
  if (predictions % 12 === 0) outbox.append('health', healthOf(run, health++));
}, 10);
const commit = setInterval(() => {
  outbox.commit();
  say(`c ${run} ${predictions} ${health}`);
}, 35);

link.start();
drain.start();
say('ready');

/** The test itself is gone: nobody else would end this. */
process.stdin.on('end', () => process.exit(1));
process.stdin.on('data', () => {
  clearInterval(produce);
  clearInterval(commit);
  outbox.commit();
  say(`c ${run} ${predictions} ${health}`);
  drain.send();
  setInterval(() => say(`l ${JSON.stringify(outbox.ledger())}`), 50);
});
