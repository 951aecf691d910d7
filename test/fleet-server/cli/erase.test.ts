/** `skein devices erase` as a person or a program uses it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { confirmByTyping } from '@skein/fleet-server/cli/confirm.ts';
import { createProgram, EXIT, exitCodeOf } from '@skein/fleet-server/cli/skein.ts';
import type { ErasurePlan, ErasureView } from '@skein/protocol/api.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { putTestRoots, startTestServer, type TestServer } from '../running-server.ts';

let server: TestServer;
let stateDir: string;
let printed = '';

const asking = (role: 'admin' | 'operator') =>
  writeFileSync(
    join(stateDir, 'operator.json'),
    JSON.stringify({ url: server.running.url, key: server.keys[role] }),
  );
beforeAll(async () => {
  server = await startTestServer();
  await putTestRoots(server);
  stateDir = mkdtempSync(join(tmpdir(), 'skein-cli-'));
});
afterAll(async () => {
  await server.close();
  rmSync(stateDir, { recursive: true, force: true });
});
beforeEach(() => {
  printed = '';
  asking('admin');
  vi.stubEnv('SKEIN_STATE_DIR', stateDir);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const skein = async (...args: string[]): Promise<string> => {
  printed = '';
  const program = await createProgram(args);
  await program.parseAsync(args, { from: 'user' });
  return printed;
};
const failed = (...args: string[]) =>
  skein(...args).then(
    () => expect.fail('it should have failed'),
    (thrown) => ({ code: (thrown as { code: string }).code, exit: exitCodeOf(thrown), thrown }),
  );

/** One after the other: the harness gives all devices one report key, and an erased one never enrols again. */
describe('skein devices erase', () => {
  it('shows what would go, asks, erases with --yes, and prints the proof', async () => {
    const { device } = await server.enrol();
    await server.people('PATCH', `/v1/devices/${device}`, { body: { name: 'roof' } });
    expect(await skein('devices', 'erase', device, '--plan')).toMatch(/^name +roof$/m);
    expect(printed).toMatch(/^WHAT +ROWS +BYTES$/m);
    expect(printed).toMatch(/^enrolment +1/m);
    const plan = JSON.parse(await skein('devices', 'erase', device, '--plan', '-o', 'json')) as ErasurePlan;
    expect(plan.kinds).toContainEqual({ kind: 'enrolment', rows: 1, bytes: 0 });
    expect(await failed('devices', 'erase', device)).toMatchObject({ exit: EXIT.usage });
    asking('operator');
    expect(await failed('devices', 'erase', device, '--yes')).toMatchObject({ exit: EXIT.denied });
    asking('admin');
    expect(await skein('devices', 'erase', device, '--yes')).toContain(`${device} is erased.`);
    expect(printed).toMatch(/^pseudonym +p-[a-z0-9]{12}$/m);
    expect(printed).toMatch(/^search +0 places in \d+ files/m);
    expect(printed).toMatch(/^audit +entry \d+/m);
    expect(await failed('devices', 'erase', device, '--yes')).toMatchObject({
      code: 'NOT_FOUND',
      exit: EXIT.failed,
    });
    expect(await failed('devices', 'erase', 'd-nowhere', '--yes')).toMatchObject({ code: 'NOT_FOUND' });
    const [erasure] = JSON.parse(await skein('devices', 'erasures', '-o', 'json')) as ErasureView[];
    expect(erasure).toMatchObject({ state: 'done', by: 'key:admin', search: { found: 0 } });
    expect(JSON.stringify(erasure)).not.toContain(device);
    expect(await skein('audit', 'list')).toMatch(new RegExp(`eraseDevice +${erasure!.pseudonym}`));
    expect(printed).not.toContain(device);
    expect(await skein('audit', 'verify')).toMatch(/^holds +yes$/m);
  });
});

describe('a confirmation', () => {
  const person = (typed: string | null) => {
    const input = Object.assign(new PassThrough(), { isTTY: true });
    if (typed === null) input.end();
    else input.write(`${typed}\n`);
    return { input, output: new PassThrough() };
  };

  it('is the very word', async () => {
    await confirmByTyping('d-one', 'Type: ', person('d-one'));
    await confirmByTyping('d-one', 'Type: ', person(' d-one '));
  });

  it.each([
    ['another word', 'd-two'],
    ['yes', 'y'],
    ['nothing', ''],
    ['the end of the input', null],
  ])('is not %s', async (_what, typed) => {
    await expect(confirmByTyping('d-one', 'Type: ', person(typed))).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('nothing was changed'),
    });
  });

  it('needs somebody who can type', async () => {
    const nobody = { input: new PassThrough(), output: new PassThrough() };
    await expect(confirmByTyping('d-one', 'Type: ', nobody)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      fix: 'Say --yes.',
    });
  });
});
