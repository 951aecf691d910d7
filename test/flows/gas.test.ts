/**
 * A second model on real recorded input: an agent replays the gas sensors' months, after gas-v1 came to it by a rollout,
 * and what the server stored is held against what the sensors really smelled, and against the months it was trained on.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AnswerOf } from '@skein/protocol/api.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packGas, readGasBatch } from '../../scripts/pack-gas.ts';
import { type Daemon, startDaemon, stopDaemon } from '../../scripts/processes.ts';
import { type Stack, startStack } from '../../scripts/stack.ts';
import { AGENT, brokenAt, FREE_PORTS, Operator, ROOT, runProgram, ServerFile, until } from './operator.ts';

const DATA = join(ROOT, '../shared/data');
const folder = mkdtempSync(join(tmpdir(), 'skein-gas-flow-'));
const home = join(folder, 'device');
const config = join(home, 'agent.yaml');
let stack: Stack;
let operator: Operator;
let file: ServerFile;
let device: string;
let agent: Daemon | undefined;

const env = (): NodeJS.ProcessEnv => ({
  ...process.env,
  SKEIN_STATE_DIR: home,
  SKEIN_AGENT_PORT: '0',
  SKEIN_DEVICE_URL: `https://localhost:${stack.ports.device}`,
  SKEIN_MQTT_URL: `mqtts://localhost:${stack.ports.mqtts}`,
});

/** The agent with one source, which plays a month of the recording. */
async function play(batch: number, how: string): Promise<void> {
  if (agent) await stopDaemon(agent);
  const source = `{ name: month-${batch}, kind: gas, model: gas, path: ${DATA}/gas/batch${batch}.dat.gz, ${how} }`;
  const fast = 'outbox: { commitInterval: 200ms }\nuplink: { batchInterval: 500ms }\n';
  writeFileSync(config, `sources:\n  - ${source}\n${fast}`);
  agent = await startDaemon({
    name: 'gas agent',
    args: [AGENT, 'run', '--config', config],
    env: env(),
    logFile: join(folder, 'gas.log'),
    readyWithinMs: 20_000,
  });
}

/** Plays a whole month and waits until every prediction of it is stored. */
async function wholeMonth(batch: number) {
  await play(batch, 'period: 4ms');
  const { truth } = await readGasBatch(DATA, batch);
  const ofMonth = () => file.predictions(device).filter(({ source }) => source === `month-${batch}`);
  const stored = await until(ofMonth, (all) => all.length >= truth!.length);
  expect(stored.length).toBe(truth!.length);
  const right = stored.filter(({ label }, i) => label === truth![i]).length;
  const view = await until(
    async () => (await operator.json<AnswerOf<'drift'>['items']>('drift', '--device', device))[0],
    (drift) => (drift?.windows ?? 0) >= Math.floor(truth!.length / WINDOW),
  );
  const drifted = view!.features.filter(({ verdict }) => verdict === 'drift').length;
  return { accuracy: right / stored.length, verdict: view!.verdict, share: drifted / view!.features.length };
}

/** Readings in a drift window, as pack-gas chose. */
const WINDOW = 100;

describe.skipIf(!existsSync(DATA))('gas sensors (skipped without ../shared/data)', () => {
  beforeAll(async () => {
    mkdirSync(home);
    stack = await startStack({ stateDir: join(folder, 'state'), ports: FREE_PORTS });
    operator = new Operator(stack.stateDir);
    file = new ServerFile(stack.stateDir);
    const { token } = await operator.json<{ token: string }>('tokens', 'create', '--groups', 'lab');
    writeFileSync(config, 'sources: []\n');
    const at = ['--config', config, '--server', env().SKEIN_DEVICE_URL!, '--token', token, '-o', 'json'];
    const enrolled = await runProgram(AGENT, ['enroll', ...at], env());
    expect(enrolled.status, enrolled.stderr).toBe(0);
    ({ device } = JSON.parse(enrolled.stdout) as { device: string });
  });
  afterAll(async () => {
    if (agent) await stopDaemon(agent);
    file?.close();
    await stack?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('get their model by a rollout to their group alone', async () => {
    const bundle = join(folder, 'gas-1.0.0');
    await packGas(DATA, bundle);
    await play(1, 'period: 20ms, loop: true');
    const { id, targets } = await operator.rollOut(bundle, 'gas@1.0.0', '--group', 'lab');
    expect(targets.map((target) => target.device)).toEqual([device]);
    const show = () => stack.api.call('showRollout', { params: { id } });
    expect(await until(show, ({ state }) => state !== 'running')).toMatchObject({ state: 'done' });
    const { installed } = await stack.api.call('showDevice', { params: { id: device } });
    expect(installed).toMatchObject([{ model: 'gas', version: '1.0.0' }]);
  });

  it('are understood in the months that the model knows, and do not look drifted', async () => {
    const { accuracy, share } = await wholeMonth(2);
    expect(accuracy).toBeGreaterThanOrEqual(0.97);
    expect(share).toBeLessThan(0.2);
  });

  it('are misunderstood in a later month, and the server says that they drifted', async () => {
    const { accuracy, verdict, share } = await wholeMonth(6);
    expect(accuracy).toBeLessThan(0.85);
    expect(verdict).toBe('drift');
    expect(share).toBeGreaterThan(0.3);
  });

  it('were all counted, over three starts of the agent', () => {
    expect(brokenAt(file.records('predictions', device))).toBeUndefined();
    expect(file.gaps()).toEqual([]);
  });
});
