/**
 * One fleet server and one agent on this machine, enrolled and given their first model through the very flows an
 * operator would use: claim token, offline keys, signed publication, rollout. Every step looks first whether it was
 * done, so a start that was cut short at any point is carried on by the next.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createApiKey } from '@skein/fleet-server/access/sessions.ts';
import { type ApiClient, createApiClient } from '@skein/fleet-server/cli/client.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { systemClock, systemEntropy } from '@skein/fleet-server/system-clock.ts';
import { type Daemon, runToEnd, startDaemon, stopDaemon } from './processes.ts';

const ROOT = join(import.meta.dirname, '..');
export const SERVER = join(ROOT, 'fleet-server', 'src', 'main.ts');
export const AGENT = join(ROOT, 'agent', 'src', 'main.ts');
const SKEIN = join(ROOT, 'fleet-server', 'src', 'cli', 'skein.ts');
const HOST_BUNDLE = join(ROOT, 'models', 'host', 'bundle');

/** Environment variable of each port and what it is when nobody says otherwise. */
const PORTS = {
  http: ['SKEIN_HTTP_PORT', 8080],
  device: ['SKEIN_DEVICE_PORT', 8443],
  mqtts: ['SKEIN_MQTTS_PORT', 8883],
  mqtt: ['SKEIN_MQTT_PORT', 1883],
  agent: ['SKEIN_AGENT_PORT', 9700],
} as const satisfies Record<string, readonly [string, number]>;

type PortName = keyof typeof PORTS;
export type Ports = Record<PortName, number>;

export interface StackOptions {
  stateDir: string;
  /** Asked ports by name; 0 picks a free one. Default: environment, then the standard ports. */
  ports?: Partial<Ports>;
  /** Says what is being done, for a person who waits. */
  say?: (step: string) => void;
}

export interface Stack {
  readonly stateDir: string;
  readonly ports: Ports;
  readonly api: ApiClient;
  server: Daemon;
  agent: Daemon;
  restartServer(): Promise<void>;
  restartAgent(): Promise<void>;
  /** Agent first, so that it can say good-bye; both within 5 s. */
  stop(): Promise<void>;
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });

/** A port of 0 means: the one used last time here if it is still free (devices remember addresses), else any. */
async function choosePorts(stateDir: string, asked: Partial<Ports>): Promise<Ports> {
  const file = join(stateDir, 'ports.json');
  const last = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Partial<Ports>) : {};
  const choose = async (name: PortName): Promise<number> => {
    const [variable, usual] = PORTS[name];
    const port = asked[name] ?? Number(process.env[variable] ?? usual);
    const before = last[name];
    return port === 0 && before && (await isFree(before)) ? before : port;
  };
  const names = Object.keys(PORTS) as PortName[];
  return Object.fromEntries(await Promise.all(names.map(async (n) => [n, await choose(n)]))) as Ports;
}

const keepPorts = (stateDir: string, ports: Ports): void =>
  writeFileSync(join(stateDir, 'ports.json'), `${JSON.stringify(ports)}\n`);

export const portEnv = (ports: Ports): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(PORTS).map(([name, [variable]]) => [variable, String(ports[name as PortName])]),
  );

interface Layout {
  root: string;
  server: string;
  agent: string;
  operator: string;
  logs: string;
}

function layOut(stateDir: string): Layout {
  const layout = {
    root: stateDir,
    server: join(stateDir, 'server'),
    agent: join(stateDir, 'agent'),
    operator: join(stateDir, 'operator.json'),
    logs: join(stateDir, 'logs'),
  };
  for (const folder of [layout.server, layout.agent, layout.logs])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  return layout;
}

/** The operator's key is made before the server starts, straight in its store; it is nowhere but in this file. */
async function operatorKey(layout: Layout): Promise<string> {
  if (existsSync(layout.operator))
    return (JSON.parse(readFileSync(layout.operator, 'utf8')) as { key: string }).key;
  const store = await openSqliteStore(join(layout.server, 'store.db'));
  try {
    return await createApiKey(store, { name: 'operator', role: 'admin' }, systemClock, systemEntropy);
  } finally {
    await store.destroy();
  }
}

const bootServer = (layout: Layout, env: NodeJS.ProcessEnv): Promise<Daemon> =>
  startDaemon({
    name: 'fleet server',
    args: [SERVER],
    env: { ...process.env, ...env, SKEIN_STATE_DIR: layout.server },
    logFile: join(layout.logs, 'server.log'),
    readyWithinMs: 20_000,
  });

const agentEnv = (layout: Layout, env: NodeJS.ProcessEnv, ports: Ports): NodeJS.ProcessEnv => ({
  ...process.env,
  ...env,
  SKEIN_STATE_DIR: layout.agent,
  SKEIN_DEVICE_URL: `https://localhost:${ports.device}`,
  SKEIN_MQTT_URL: `mqtts://localhost:${ports.mqtts}`,
});

const bootAgent = (layout: Layout, env: NodeJS.ProcessEnv): Promise<Daemon> =>
  startDaemon({
    name: 'agent',
    args: [AGENT, 'run', '--config', join(layout.agent, 'agent.yaml')],
    env,
    logFile: join(layout.logs, 'agent.log'),
    readyWithinMs: 20_000,
  });

const demoConfig = (
  layout: Layout,
) => `# The agent that npm start runs on this machine. Every key: npx skein-agent config
stateDir: ${layout.agent}
profile: lan
sources:
  - name: host
    kind: host
    model: host
outbox:
  commitInterval: 1s
uplink:
  batchInterval: 2s
`;

interface Told {
  api: ApiClient;
  cli: (...args: string[]) => Promise<string>;
  say: (step: string) => void;
}

async function ensureTrust({ api, cli, say }: Told): Promise<void> {
  if ((await api.call('server')).trustReady) return;
  say('making the operator’s signing keys (root 2 of 3, publisher) and signing both roots');
  await cli('keys', 'init');
}

async function ensureEnrolled(layout: Layout, env: NodeJS.ProcessEnv, { api, say }: Told): Promise<void> {
  const config = join(layout.agent, 'agent.yaml');
  if (!existsSync(config)) writeFileSync(config, demoConfig(layout));
  if (existsSync(join(layout.agent, 'identity'))) return;
  say('enrolling this machine with a one-time claim token');
  const { token } = await api.call('createToken', { body: { uses: 1, ttlMs: 600_000, groups: ['home'] } });
  await runToEnd(
    [AGENT, 'enroll', '--config', config, '--server', env.SKEIN_DEVICE_URL!, '--token', token],
    env,
  );
}

async function ensureModel({ api, cli, say }: Told): Promise<void> {
  const models = (await api.call('listModels')).items;
  if (!models.some((m) => m.name === 'host')) {
    say('signing and publishing the host model');
    await cli('models', 'publish', HOST_BUNDLE);
  }
  if ((await api.call('listRollouts')).items.length > 0) return;
  say('rolling it out to this machine');
  await cli(
    'rollouts',
    'create',
    '--model',
    'host@1.0.0',
    '--group',
    'all',
    '--stages',
    '100%',
    '--soak',
    '0s',
    '--yes',
  );
}

/** Starts everything; what was already set up is left as it is. @throws SkeinError with the step that failed */
export async function startStack(options: StackOptions): Promise<Stack> {
  const say = options.say ?? (() => {});
  const layout = layOut(options.stateDir);
  const wanted = await choosePorts(options.stateDir, options.ports ?? {});
  const key = await operatorKey(layout);
  say('starting the fleet server');
  let server = await bootServer(layout, portEnv(wanted));
  const ports = { ...wanted, ...(server.ready.ports as Partial<Ports>) };
  const env = portEnv(ports);
  const url = `http://localhost:${ports.http}`;
  writeFileSync(layout.operator, `${JSON.stringify({ url, key })}\n`, { mode: 0o600 });
  keepPorts(options.stateDir, ports);
  const cli = (...args: string[]) =>
    runToEnd([SKEIN, ...args], { ...process.env, SKEIN_STATE_DIR: layout.root });
  const told: Told = { api: createApiClient({ url, key }), cli, say };
  const forAgent = agentEnv(layout, env, ports);
  let agent: Daemon;
  try {
    await ensureTrust(told);
    await ensureEnrolled(layout, forAgent, told);
    say('starting the agent');
    agent = await bootAgent(layout, forAgent);
    ports.agent = (agent.ready.ports as { agent?: number } | undefined)?.agent ?? ports.agent;
    keepPorts(options.stateDir, ports);
    await ensureModel(told);
  } catch (error) {
    await stopDaemon(server);
    throw error;
  }
  return {
    stateDir: options.stateDir,
    ports,
    api: told.api,
    get server() {
      return server;
    },
    get agent() {
      return agent;
    },
    async restartServer() {
      server = await bootServer(layout, env);
    },
    async restartAgent() {
      agent = await bootAgent(layout, { ...forAgent, SKEIN_AGENT_PORT: String(ports.agent) });
    },
    async stop() {
      await stopDaemon(agent);
      await stopDaemon(server);
    },
  };
}
