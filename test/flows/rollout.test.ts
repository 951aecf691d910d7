/**
 * A second version by hand, as the README has it: published, rolled out and watched on the command line, heard on the
 * local MQTT port, and proved afterwards from the server's own file: signed reports, and no prediction lost in the swap.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nativeVerify } from '@skein/agent/system-clock.ts';
import type { ItemOf } from '@skein/fleet-server/cli/client.ts';
import type { AnswerOf } from '@skein/protocol/api.ts';
import { verifyBatch } from '@skein/protocol/batch/sealed.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { parseEvent, parseHello, parseState, parseStatus, parseUpdate } from '@skein/protocol/messages.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  agentStatus,
  brokenAt,
  type Flow,
  findProgram,
  type Listener,
  listen,
  openFlow,
  ROOT,
  runsOf,
  ServerFile,
  until,
} from './operator.ts';

const BUNDLE = join(ROOT, 'models/host/bundle-1.1.0');
const manifest = JSON.parse(readFileSync(join(BUNDLE, 'manifest.json'), 'utf8')) as Manifest;
const mosquittoSub = findProgram('mosquitto_sub');

/** A source that falls silent again and again: its incidents open and end. */
const MOODY = `{ name: moody, kind: command, model: none, command: "echo '{\\"x\\":1}'; sleep 600", stallAfter: 1s }`;

let flow: Flow;
let file: ServerFile;
let listener: Listener | undefined;
let rollout: RolloutView;

beforeAll(async () => {
  flow = await openFlow('rollout', MOODY);
  file = new ServerFile(flow.stack.stateDir);
  if (mosquittoSub) listener = await listen(mosquittoSub, flow.stack.ports.mqtt);
});
afterAll(async () => {
  await listener?.stop();
  file?.close();
  await flow?.close();
});

const skein = (...args: string[]) => flow.operator.skein(...args);
const show = (id: string) => flow.operator.json<RolloutView>('rollouts', 'show', id);
const listed = async () => (await flow.operator.json<ItemOf<'listDevices'>[]>('devices', 'list'))[0]!;

describe('a second version', () => {
  it('is published, and rolled out only as far as nobody pauses it', async () => {
    rollout = await flow.operator.rollOut(BUNDLE, 'host@1.1.0', '--stages', '1,100%');
    expect(rollout).toMatchObject({ state: 'running', spec: { model: 'host', stages: ['1', '100%'] } });
    const paused = await flow.operator.json<RolloutView>('rollouts', 'pause', rollout.id);
    expect(paused.state).toBe('paused');
    const why = await skein('why', rollout.id);
    expect(why.stdout).toMatch(/paused by a person; resume to go on/);
    const again = await skein('rollouts', 'pause', rollout.id);
    expect([again.status, again.stderr]).toEqual([
      1,
      expect.stringMatching(/CONFLICT.*\n.*Allowed from: running/),
    ]);
    // What was ordered before the pause goes on: the device proves it, and the rollout stays where it is.
    const committed = until(
      () => show(rollout.id),
      ({ targets }) => targets[0]!.state === 'committed',
      90_000,
    );
    await committed.catch(async (late: Error) => {
      const { models, pipelines, updates } = await agentStatus(flow.stack.stateDir);
      throw new Error(`${late.message}; the device: ${JSON.stringify({ models, pipelines, updates })}`);
    });
    expect((await show(rollout.id)).state).toBe('paused');
  });

  it('goes on after resume, and whoever watches sees it end', async () => {
    const watching = skein('rollouts', 'watch');
    const resumed = await skein('rollouts', 'resume', rollout.id);
    expect(resumed.status, resumed.stderr).toBe(0);
    const watched = await watching;
    expect(watched.status, watched.stderr).toBe(0);
    expect(watched.stdout.trimEnd().split('\n').at(-1)).toBe(
      'done: done: 1 of 1 device proved it [1 committed]',
    );
    const why = await skein('why', flow.device);
    expect(why.stdout).toMatch(new RegExp(`${rollout.id} \\(host@1\\.1\\.0, done\\): proved the version`));
  });

  it('is what the device runs, by its own account and by proof', async () => {
    const hashes = manifest.variants.map((variant) => variant.file.sha256);
    expect((await until(listed, ({ model }) => model === 'host@1.1.0')).online).toBe(true);
    const device = await until(
      () => flow.operator.json<AnswerOf<'showDevice'>>('devices', 'show', flow.device),
      ({ hello }) => hello?.models[0]?.version === '1.1.0',
    );
    expect(hashes).toContain(device.hello!.models[0]!.sha256);
    expect(device.installed).toMatchObject([{ model: 'host', version: '1.1.0' }]);
    expect(hashes).toContain(device.installed[0]!.sha256);
  });

  it('was reported step by step in batches that the device signed', () => {
    const reports = file.reports(flow.device).filter(({ report }) => report.rollout === rollout.id);
    const outcomes = reports.map(({ report }) => report.outcome);
    expect(outcomes).toEqual(['started', 'downloaded', 'preflighted', 'probation', 'committed']);
    const key = Buffer.from(file.reportKey(flow.device), 'hex');
    for (const { batch } of reports) verifyBatch(batch, nativeVerify, key);
    const { report } = reports.at(-1)!;
    expect(manifest.variants.map((variant) => variant.file.sha256)).toContain(report.loaded);
    expect(report.golden.total).toBeGreaterThan(0);
    expect(report.golden.passed).toBe(report.golden.total);
    expect(report.probation.inferences).toBeGreaterThanOrEqual(4);
    expect(report.probation).toMatchObject({ errors: 0, notFinite: 0 });
  });

  it('took over between two readings: each reading has its prediction, the version changes once', async () => {
    const { pipelines, ledger } = await agentStatus(flow.stack.stateDir);
    const host = pipelines.find(({ source }) => source === 'host')!;
    expect(host).toMatchObject({ notFinite: 0, failures: 0 });
    expect(host.readings - host.predictions).toBeLessThanOrEqual(1);
    const accepted = ledger.find(({ stream }) => stream === 'predictions')!.accepted;
    const records = await until(
      () => file.records('predictions', flow.device),
      (all) => all.length >= accepted,
    );
    expect(brokenAt(records)).toBeUndefined();
    expect(runsOf(records.map(({ record }) => record.version))).toEqual(['1.0.0', '1.1.0']);
    expect(new Set(records.map(({ record }) => record.boot)).size).toBe(1);
  });

  it.skipIf(!mosquittoSub)(
    'was told to anybody who listens on the local MQTT port, in plain JSON',
    async () => {
      const said = (channel: string) =>
        listener!.heard.filter((m) => m.device === flow.device && m.channel === channel).map((m) => m.text);
      const bytes = (text: string) => new TextEncoder().encode(text);
      expect(parseStatus.parse(bytes(said('status')[0]!), 'status')).toMatchObject({ online: 1 });
      const states = said('state').map((text) => parseState.parse(bytes(text), 'state'));
      expect(states.at(-1)).toMatchObject({ model: 'host', version: '1.1.0', score: expect.any(Number) });
      const hello = parseHello.parse(bytes(said('hello').at(-1)!), 'hello');
      expect(hello.models).toMatchObject([{ name: 'host', version: '1.1.0' }]);
      const updates = said('update').map((text) => parseUpdate.parse(bytes(text), 'update'));
      expect(updates.some((u) => u.in_progress === 1 && u.latest_version === '1.1.0')).toBe(true);
      expect(updates.at(-1)).toMatchObject({ installed_version: '1.1.0', in_progress: 0 });
      const events = () => said('event').map((text) => parseEvent.parse(bytes(text), 'event'));
      const of = (type: string) =>
        events().filter((event) => event.type === type && event.after.source === 'moody');
      await until(
        () => [of('new').length, of('end').length],
        ([opened, ended]) => opened! > 0 && ended! > 0,
        30_000,
      );
      expect(of('new')[0]!.after).toMatchObject({ code: 'SOURCE_STALLED', end_time: null });
    },
  );
});

describe('what a person stops', () => {
  it('is withdrawn by abort: the device says so and goes back to what it ran', async () => {
    const view = await flow.operator.rollOut(
      join(ROOT, 'models/host/bundle'),
      ...['host@1.0.0', '--probation-time', '5m'],
    );
    await until(
      () => show(view.id),
      ({ targets }) => targets[0]!.state === 'probation',
      30_000,
    );
    const overlap = await skein('rollouts', 'create', '--model', 'host@1.1.0', '--yes');
    expect([overlap.status, overlap.stderr]).toEqual([
      1,
      expect.stringMatching(/CONFLICT.*\n.*rollouts abort/),
    ]);
    const aborted = await flow.operator.json<RolloutView>('rollouts', 'abort', view.id);
    expect(aborted.state).toBe('aborted');
    const confirmed = await until(
      () => show(view.id),
      ({ targets }) => targets[0]!.state === 'cancelled',
      30_000,
    );
    // By the order that stood before: the device is told what to run, not merely what not to.
    expect(confirmed.targets[0]!.reason).toBe('ORDER_SUPERSEDED');
    expect((await until(listed, ({ model }) => model === 'host@1.1.0')).model).toBe('host@1.1.0');
    expect((await skein('rollouts', 'watch', view.id)).status).toBe(1);
    expect((await skein('why', flow.device)).stdout).toMatch(/aborted\): does not take part any more/);
  });

  it('is taken back by rollback from devices that had proved it', async () => {
    const back = await flow.operator.json<RolloutView>('rollouts', 'rollback', rollout.id);
    expect(back.state).toBe('rolled-back');
    await until(listed, ({ model }) => model === 'host@1.0.0', 30_000);
    await until(
      () => show(rollout.id),
      ({ counts }) => counts.cancelled === 1,
      30_000,
    );
    const records = await until(
      () => file.records('predictions', flow.device),
      (all) => all.at(-1)!.record.version === '1.0.0',
    );
    expect(brokenAt(records)).toBeUndefined();
    expect(runsOf(records.map(({ record }) => record.version))).toEqual([
      '1.0.0',
      '1.1.0',
      '1.0.0',
      '1.1.0',
      '1.0.0',
    ]);
  });
});

describe('a version that its publisher withdraws', () => {
  it('is left by the device for the one before it, and its rollout ends', async () => {
    const second = await flow.operator.rollOut(BUNDLE, 'host@1.1.0');
    expect((await flow.ended(second.id)).state).toBe('done');
    const said = await skein('models', 'revoke', 'host@1.1.0', '--reason', 'wrong labels');
    expect([said.status, said.stdout], said.stderr).toEqual([
      0,
      expect.stringMatching(/- host@1\.1\.0 revoked[\s\S]*Published\.\n$/),
    ]);
    await until(listed, ({ model }) => model === 'host@1.0.0', 30_000);
    const ended = await until(
      () => show(second.id),
      ({ state }) => state === 'halted',
      30_000,
    );
    expect(ended.why).toContain('host@1.1.0 was withdrawn by offline keys');
    const reports = await until(
      () => file.reports(flow.device).map(({ report }) => report),
      (all) => all.some(({ reason }) => reason === 'MODEL_REVOKED'),
      30_000,
    );
    expect(reports.find(({ reason }) => reason === 'MODEL_REVOKED')).toMatchObject({
      rollout: second.id,
      outcome: 'reverted',
      version: '1.1.0',
      reason: 'MODEL_REVOKED',
      detail: 'host@1.1.0 was withdrawn by offline keys: wrong labels; back to 1.0.0',
    });
    const models = await flow.operator.json<ItemOf<'listModels'>[]>('models', 'list');
    expect(models.map(({ version, revoked }) => [version, revoked])).toEqual([
      ['1.1.0', true],
      ['1.0.0', false],
    ]);
    const again = await skein('models', 'publish', BUNDLE);
    expect([again.status, again.stderr]).toEqual([1, expect.stringContaining('MODEL_REVOKED')]);
  });

  it('stays away when every online key and the publisher’s change, and the device follows', async () => {
    const online = ['timestamp', 'snapshot', 'director', 'ack'].flatMap((role) => ['--role', role]);
    for (const args of [online, ['--role', 'targets', '--stolen']]) {
      const said = await skein('keys', 'rotate', ...args);
      expect([said.status, said.stdout.trimEnd().split('\n').at(-1)], said.stderr).toEqual([0, 'Published.']);
    }
    expect((await flow.stack.api.call('trust')).warnings).toEqual([]);
    const { predictions } = await listed();
    // Acknowledgements of the new key are believed: predictions go on being stored and counted.
    await until(
      async () =>
        (await agentStatus(flow.stack.stateDir)).ledger.find(({ stream }) => stream === 'predictions')!,
      (ledger) => ledger.stored > predictions,
      30_000,
    );
    expect((await listed()).model).toBe('host@1.0.0');
  });
});
