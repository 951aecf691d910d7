/**
 * Where a campaign takes place: a server, devices and a broker as real processes with real files below one folder, each
 * with its routes to the next, set up through the flows an operator would use.
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import type { AgentStatus } from '@skein/agent/api/status.ts';
import { openX509Authority } from '@skein/fleet-server/fleet/x509-authority.ts';
import { systemClock } from '@skein/fleet-server/system-clock.ts';
import { findMosquitto, type RunningMosquitto, startMosquitto } from '../../test/contracts/mosquitto.ts';
import { beginDaemon, type Daemon, runToEnd, stopDaemon } from '../processes.ts';
import { AGENT, portEnv, SERVER, type Stack, startStack } from '../stack.ts';
import { type Beginning, Life } from './life.ts';
import { faketimeEnv, findFaketime, RIGHT_TIME } from './linux-faketime.ts';
import { NetworkNamespace } from './linux-netns.ts';
import { Observer } from './observer.ts';
import type { BrokerKind, StrikeKind } from './plan.ts';
import { KEY_FILE } from './sqlite-files.ts';
import { TcpRoute } from './tcp-route.ts';

const FREE_PORTS = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };
const FLEET = 'home';
const READY_MS = 90_000;
const HEAR_MS = 400;
/** Of a model that starts, on a loaded machine. */
const PROVED_MS = 180_000;
/** Of each party, where it is to be filled. */
const DISK = '64m';
/** A server takes nothing while less than 128 MiB are free. */
const SERVER_DISK = '192m';
const HOSTILE = join(import.meta.dirname, 'aedes-hostile.ts');

/** Where devices and server meet. */
type MqttPorts = Pick<RunningMosquitto, 'mqtts' | 'mqtt'>;

/** As every daemon is started with. */
const QUIET_NODE = '--disable-warning=ExperimentalWarning';

/** Of the agent's own API: its ports may lie in a network of its own. */
const SOCKET = 'api.sock';

/** Twenty readings a second, committed and sent as often as may be configured. */
const BUSY = `
sources:
  - { name: host, kind: host, model: host, period: 50ms }
outbox: { commitInterval: 100ms }
uplink: { batchInterval: 200ms, keepAlive: 5s }
health: { interval: 1s, sampleInterval: 500ms }
api: { socket: ${SOCKET} }
`;
/** After the health record of its start nothing new comes, so that what is pending can come to an end. */
const QUIET = `
sources: []
outbox: { commitInterval: 100ms }
uplink: { batchInterval: 200ms, keepAlive: 5s }
health: { interval: 1d, sampleInterval: 1h }
api: { socket: ${SOCKET} }
`;

export interface Device {
  name: string;
  /** Its name at the server. */
  id: string;
  stateDir: string;
  life: Life;
  observer: Observer;
}

export interface FieldOptions {
  folder: string;
  devices: number;
  /** Those that will be used; the first is used at once. */
  brokers: readonly BrokerKind[];
  kinds: readonly StrikeKind[];
  /** The devices encrypt what lies on their disks. */
  encrypted?: boolean;
  say(step: string): void;
}

export class Field {
  readonly folder: string;
  readonly devices: Device[] = [];
  readonly routes = new Map<string, TcpRoute>();
  /** Those of the devices, where there are any. */
  readonly networks = new Map<string, NetworkNamespace>();
  /** Set by {@link open}. */
  server!: Life;
  /** Of its own process; absent: the server's. */
  broker: Life | undefined;
  readonly #options: FieldOptions;
  readonly #env: NodeJS.ProcessEnv;
  #stack!: Stack;
  #mosquitto: RunningMosquitto | undefined;
  #external: Life | undefined;
  #brokerPort = 0;
  #meeting: MqttPorts | undefined;
  readonly #mounted: string[] = [];
  readonly #faketime: string | undefined;
  #serverEnv: NodeJS.ProcessEnv = {};

  constructor(options: FieldOptions) {
    this.folder = options.folder;
    this.#options = options;
    const cache = join(options.folder, 'compiled');
    if (options.kinds.includes('clock')) this.#faketime = findFaketime();
    this.#env = { NODE_COMPILE_CACHE: cache, ...process.env };
  }

  get store(): string {
    return join(this.folder, 'state/server/store.db');
  }

  /** Every process, by the name that a plan has for it; the broker also while it is not used. */
  lives(): Map<string, Life> {
    const all = [this.server, this.#external, ...this.devices.map(({ life }) => life)].filter(
      (life) => life !== undefined,
    );
    return new Map(all.map((life) => [life.name, life]));
  }

  /** Until every model has proved itself: a death in its probation would be the model's fault. */
  async open(): Promise<void> {
    const { devices, brokers, kinds, say } = this.#options;
    Object.assign(process.env, { NODE_COMPILE_CACHE: this.#env.NODE_COMPILE_CACHE });
    const stateDir = join(this.folder, 'state');
    const names = Array.from({ length: devices }, (_, i) => `agent-${i + 1}`);
    if (kinds.includes('disk-full')) for (const name of ['server', ...names]) this.#mount(name);
    this.#configure('agent-1', BUSY);
    this.#stack = await startStack({ stateDir, ports: FREE_PORTS, say });
    await this.#proved();
    for (let i = 2; i <= devices; i++) await this.#enrol(`agent-${i}`);
    const { agent, server } = this.#stack;
    for (const { child, exited } of [agent, server]) {
      child.kill('SIGKILL');
      await exited;
    }
    if (brokers.includes('mosquitto')) await this.#openMosquitto();
    this.server = new Life({ name: 'server', begin: () => this.#begin('server', [SERVER], this.#serverEnv) });
    for (let i = 1; i <= devices; i++) await this.#openDevice(`agent-${i}`);
    await this.use(brokers[0]!);
    for (const { life } of this.devices) life.start();
  }

  /** Devices and server meet at this broker from now on. */
  async use(kind: BrokerKind): Promise<void> {
    await this.server.kill();
    this.broker = kind === 'embedded' ? undefined : this.#external;
    const url = { SKEIN_BROKER_URL: `mqtt://127.0.0.1:${this.#brokerPort}` };
    this.#serverEnv = { ...portEnv(this.#stack.ports), ...(this.broker ? url : {}) };
    this.#meetAt(kind === 'embedded' ? this.#stack.ports : this.#mosquitto!);
    for (const life of [this.broker, this.server]) life?.start();
  }

  /** In the broker's place until it is closed. */
  async openHostile(seed: number): Promise<{ close(): Promise<void> }> {
    const pem = (name: string) => readFileSync(join(this.folder, 'mosquitto', `m-${name}.pem`), 'utf8');
    const settings = join(this.folder, 'hostile.json');
    writeFileSync(settings, JSON.stringify({ seed, key: pem('key'), cert: pem('cert'), ca: pem('ca') }));
    const daemon = await this.#begin('hostile', [HOSTILE, settings], {}).ready;
    this.#meetAt((daemon as Daemon).ready.ports as MqttPorts);
    return {
      close: async () => {
        this.#meetAt(this.#mosquitto!);
        await stopDaemon(daemon as Daemon);
      },
    };
  }

  /** What was connected elsewhere has to come again. */
  #meetAt(ports: MqttPorts): void {
    this.#meeting = ports;
    for (const route of this.routes.values()) route.cut();
  }

  async close(): Promise<void> {
    for (const life of this.lives().values()) await life.close();
    for (const route of this.routes.values()) await route.close();
    for (const network of this.networks.values()) network.close();
    for (const folder of this.#mounted) execFileSync('umount', ['-l', folder]);
  }

  /** No readings from the next start on. */
  quieten(): void {
    for (const { name } of this.devices) this.#configure(name, QUIET);
  }

  /** What it says of itself is what it can be held to; it may be too busy dying to answer. */
  async hear(who: string): Promise<void> {
    const device = this.devices.find(({ name }) => name === who);
    if (!device?.life.up) return;
    try {
      const { ledger } = await askStatus(join(device.stateDir, SOCKET));
      for (const { stream, accepted } of ledger) device.observer.claim(stream, accepted);
    } catch {
      // Nothing said, nothing claimed.
    }
  }

  /** Says which time it is for a party. */
  clockOf = (name: string): string => join(this.folder, `${name}.clock`);

  /** The folder of the first is the one that `npm start` would use. */
  stateOf = (name: string): string => join(this.folder, 'state', name === 'agent-1' ? 'agent' : name);

  #configure(name: string, text: string): void {
    const folder = this.stateOf(name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const atRest = this.#options.encrypted ? `atRest: { file: ${this.#keyFile()} }\n` : '';
    writeFileSync(join(folder, 'agent.yaml'), `stateDir: ${folder}\n${atRest}${text}`);
  }

  /** One for all devices. */
  #keyFile(): string {
    const file = join(this.folder, 'state', KEY_FILE);
    if (!existsSync(file)) writeFileSync(file, randomBytes(32), { mode: 0o600 });
    return file;
  }

  async #proved(): Promise<void> {
    const deadline = performance.now() + PROVED_MS;
    for (;;) {
      const { items } = await this.#stack.api.call('listRollouts');
      const states = items.map(({ state }) => state);
      if (states.length > 0 && states.every((state) => state === 'done')) return;
      if (states.some((state) => state !== 'running' && state !== 'done')) {
        throw new Error(`the first rollout is ${states.join(', ')}`);
      }
      if (performance.now() > deadline) throw new Error(`the first rollout took more than ${PROVED_MS} ms`);
      await new Promise((wake) => setTimeout(wake, 100));
    }
  }

  /** A further device, and the model for it. */
  async #enrol(name: string): Promise<void> {
    const { api, ports } = this.#stack;
    this.#options.say(`enrolling ${name}`);
    this.#configure(name, BUSY);
    const config = join(this.stateOf(name), 'agent.yaml');
    const { token } = await api.call('createToken', { body: { uses: 1, ttlMs: 600_000, groups: [name] } });
    const url = `https://localhost:${ports.device}`;
    const env = { ...process.env, SKEIN_STATE_DIR: this.stateOf(name) };
    await runToEnd([AGENT, 'enroll', '--config', config, '--server', url, '--token', token], env);
    const life = this.#agent(name, {
      SKEIN_DEVICE_URL: url,
      SKEIN_MQTT_URL: `mqtts://localhost:${ports.mqtts}`,
    });
    const skein = join(import.meta.dirname, '../../fleet-server/src/cli/skein.ts');
    const rollout = ['rollouts', 'create', '--model', 'host@1.0.0', '--group', name, '--stages', '100%'];
    await runToEnd([skein, ...rollout, '--soak', '0s', '--yes'], {
      ...process.env,
      SKEIN_STATE_DIR: join(this.folder, 'state'),
    });
    await this.#proved();
    life.child.kill('SIGKILL');
    await life.exited;
  }

  #begin(name: string, args: string[], env: NodeJS.ProcessEnv): Beginning {
    const begun = beginDaemon({
      name,
      ...(this.networks.get(name)?.inside(process.execPath, [QUIET_NODE, ...args]) ?? { args }),
      env: { ...process.env, ...env, ...this.#time(name), SKEIN_STATE_DIR: this.stateOf(name) },
      logFile: join(this.folder, 'state/logs', `${name}.log`),
      readyWithinMs: READY_MS,
    });
    begun.ready.catch(() => {});
    return begun;
  }

  #time(name: string): NodeJS.ProcessEnv {
    if (!this.#faketime) return {};
    const file = this.clockOf(name);
    if (!existsSync(file)) writeFileSync(file, `${RIGHT_TIME}\n`);
    return faketimeEnv(this.#faketime, file);
  }

  /** Small enough to be filled in a moment. */
  #mount(name: string): void {
    const folder = this.stateOf(name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    execFileSync('mount', [
      '-t',
      'tmpfs',
      '-o',
      `size=${name === 'server' ? SERVER_DISK : DISK}`,
      'skein-chaos',
      folder,
    ]);
    this.#mounted.push(folder);
  }

  #agent(name: string, env: NodeJS.ProcessEnv): Beginning {
    const args = [AGENT, 'run', '--config', join(this.stateOf(name), 'agent.yaml')];
    return this.#begin(name, args, { ...env, SKEIN_AGENT_PORT: '0' });
  }

  async #openDevice(name: string): Promise<void> {
    const { ports } = this.#stack;
    const host = this.#networkOf(name)?.address;
    const mqtts = await this.#route(`${name}/mqtts`, () => this.#meeting!.mqtts, host);
    const https = await this.#route(`${name}/https`, () => ports.device, host);
    const env = {
      SKEIN_DEVICE_URL: `https://localhost:${https}`,
      SKEIN_MQTT_URL: `mqtts://localhost:${mqtts}`,
    };
    const stateDir = this.stateOf(name);
    const observer = new Observer(join(stateDir, 'outbox.db'), this.folder);
    const whenDead = () => observer.readDead();
    const life = new Life({ name, begin: () => this.#agent(name, env), whenDead });
    const identity = JSON.parse(readFileSync(join(stateDir, 'identity/identity.json'), 'utf8'));
    const id = (identity as { device: string }).device;
    this.devices.push({ name, id, stateDir, life, observer });
  }

  #networkOf(name: string): NetworkNamespace | undefined {
    if (!this.#options.kinds.includes('network')) return undefined;
    const network = new NetworkNamespace(this.networks.size);
    this.networks.set(name, network);
    return network;
  }

  async #route(name: string, port: () => number, host?: string): Promise<number> {
    const route = new TcpRoute(name, () => ({ host: '127.0.0.1', port: port() }));
    this.routes.set(name, route);
    return route.listen(host);
  }

  /** Keeps what it remembers on disk, so that it has something to lose. */
  async #openMosquitto(): Promise<void> {
    const binary = findMosquitto();
    if (!binary) throw new Error('there is no mosquitto on this machine');
    const folder = join(this.folder, 'mosquitto');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const authority = await openX509Authority(join(this.folder, 'state/server/ca'), systemClock);
    const server = await authority.serverTls(['localhost', '127.0.0.1', '::1']);
    this.#mosquitto = await startMosquitto(binary, { folder, server }, FLEET);
    await this.#mosquitto.stop();
    const config = join(folder, 'mosquitto.conf');
    const persistent = ['persistence true', `persistence_location ${folder}/`, 'autosave_interval 1'];
    appendFileSync(config, `${persistent.join('\n')}\n`);
    this.#external = new Life({ name: 'broker', begin: () => beginMosquitto(binary, config) });
    this.#brokerPort = await this.#route('server/mqtt', () => this.#meeting!.mqtt);
  }
}

function askStatus(socketPath: string): Promise<AgentStatus> {
  return new Promise((resolve, reject) => {
    const asked = get(
      { socketPath, path: '/status', signal: AbortSignal.timeout(HEAR_MS) },
      (answer) => void json(answer).then((said) => resolve(said as AgentStatus), reject),
    );
    asked.once('error', reject);
  });
}

function beginMosquitto(binary: string, config: string): Beginning {
  const child = spawn(binary, ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = new Promise<Awaited<Beginning['exited']>>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  );
  const ready = new Promise<void>((resolve) => {
    child.stderr.on('data', (said) => void (/running/.test(String(said)) && resolve()));
  });
  return { child, exited, ready };
}
