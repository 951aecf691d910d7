import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EnrolRequest } from '@skein/protocol/api.ts';
import { formatClaimToken, renewalBytes, trustHash } from '@skein/protocol/enrolment.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diskIdentity, identityPath } from '../../../agent/src/identity/disk-identity.ts';
import { type EnrolDeps, enrol, pinAnew } from '../../../agent/src/identity/enroll.ts';
import { type Identity, renewalDueAt } from '../../../agent/src/identity/identity.ts';
import { keepRenewed } from '../../../agent/src/identity/renew.ts';
import { x509Identity } from '../../../agent/src/identity/x509-identity.ts';
import { nativeVerify, systemClock } from '../../../agent/src/system-clock.ts';
import { openX509Authority, type X509Authority } from '../../../fleet-server/src/fleet/x509-authority.ts';
import { manualClock } from '../manual-clock.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-enrol-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (text: string) => new TextEncoder().encode(text);
const image = bytes('{"signed":"image"}');
const director = bytes('{"signed":"director"}');
const base64 = (raw: Uint8Array) => Buffer.from(raw).toString('base64');
let authority: X509Authority;
let other: X509Authority;
let token: string;
let serial = 0;

beforeAll(async () => {
  authority = await openX509Authority(join(folder, 'ca'), systemClock);
  other = await openX509Authority(join(folder, 'other'), systemClock);
  const trust = trustHash(bytes(authority.ca), image, director);
  token = formatClaimToken({ id: 'abcd', secret: 'S'.repeat(24), trust });
});

function scene(
  change: Partial<{ issuer: X509Authority; ca: string; image: Uint8Array; device: string }> = {},
) {
  const stateDir = join(folder, `device-${serial++}`);
  const sent: EnrolRequest[] = [];
  const pinned: unknown[] = [];
  const deps: EnrolDeps = {
    server: {
      trust: async () => ({
        ca: base64(bytes(change.ca ?? authority.ca)),
        image: base64(change.image ?? image),
        director: base64(director),
      }),
      async enrol(_ca, request) {
        sent.push(request);
        const { certificate } = await (change.issuer ?? authority).signDevice(
          request.csr,
          change.device ?? 'd-one',
        );
        const urls = { deviceUrl: 'https://fleet:8443', mqttUrl: 'mqtts://fleet:8883' };
        return { device: 'd-one', fleet: 'home', certificate, ca: authority.ca, ...urls };
      },
    },
    keys: x509Identity,
    store: diskIdentity(stateDir),
    pin: (roots) => pinned.push(roots),
    clock: systemClock,
  };
  return { deps, sent, pinned, stateDir };
}

describe('enrolment', () => {
  it('keeps what the server gave, pins the roots, and never sends the hash of the token', async () => {
    const { deps, sent, pinned, stateDir } = scene();
    const identity = await enrol(deps, token, 'shed');
    expect(identity).toMatchObject({ device: 'd-one', fleet: 'home', ca: authority.ca });
    expect(sent).toEqual([expect.objectContaining({ token: `abcd.${'S'.repeat(24)}`, name: 'shed' })]);
    expect(pinned).toEqual([expect.objectContaining({ image, director })]);
    expect(deps.store.load()).toEqual(identity);
    expect(statSync(identityPath(stateDir)).mode & 0o777).toBe(0o600);
    expect(statSync(join(stateDir, 'identity')).mode & 0o777).toBe(0o700);
  });

  it.each([
    ['another CA', () => ({ ca: other.ca })],
    ['another root', () => ({ image: bytes('{"signed":"evil"}') })],
  ])('refuses a server that offers %s, before any secret leaves the device', async (_what, change) => {
    const { deps, sent, pinned } = scene(change());
    await expect(enrol(deps, token)).rejects.toMatchObject({ code: 'SERVER_NOT_TRUSTED' });
    expect([sent, pinned, deps.store.load()]).toEqual([[], [], undefined]);
  });

  it.each([
    ['of another CA', () => ({ issuer: other })],
    ['that names another device', () => ({ device: 'd-two' })],
  ])('refuses a certificate %s', async (_what, change) => {
    const { deps } = scene(change());
    await expect(enrol(deps, token)).rejects.toMatchObject({ code: 'SERVER_NOT_TRUSTED' });
    expect(deps.store.load()).toBeUndefined();
  });

  it('refuses a text that is no token, and a second enrolment', async () => {
    const { deps } = scene();
    await expect(enrol(deps, 'abcd.secret')).rejects.toMatchObject({ code: 'TOKEN_INVALID' });
    await enrol(deps, token);
    await expect(enrol(deps, token)).rejects.toMatchObject({ code: 'ALREADY_ENROLLED' });
  });

  it('pins new roots that a token vouches for and changes nothing else, when a root’s threshold was lost', async () => {
    const { deps, sent, pinned } = scene();
    await expect(pinAnew(deps, token)).rejects.toMatchObject({ code: 'NOT_ENROLLED' });
    const identity = await enrol(deps, token);
    expect(await pinAnew(deps, token)).toEqual(identity);
    expect([sent.length, pinned.length]).toEqual([1, 2]);
    expect(deps.store.load()).toEqual(identity);
    const evil = scene({ image: bytes('{"signed":"evil"}') });
    const known = { ...evil.deps, store: deps.store };
    await expect(pinAnew(known, token)).rejects.toMatchObject({ code: 'SERVER_NOT_TRUSTED' });
    expect(evil.pinned).toEqual([]);
  });

  it('says which file is damaged rather than enrolling anew', async () => {
    const { deps, stateDir } = scene();
    await enrol(deps, token);
    const path = identityPath(stateDir);
    writeFileSync(path, readFileSync(path, 'utf8').slice(0, 100));
    expect(() => deps.store.load()).toThrow(path);
  });
});

describe('renewal', () => {
  const enrolled = async () => {
    const { deps } = scene();
    return { store: deps.store, identity: await enrol(deps, token) };
  };
  const renewing = (identity: Identity, store: EnrolDeps['store'], startAt: number, timeFloor = 0) => {
    const clock = manualClock(startAt);
    const requests: { at: number; signature: string; csr: string; device: string }[] = [];
    const renewed: Identity[] = [];
    const failed: string[] = [];
    let online = true;
    const stop = keepRenewed(
      {
        keys: x509Identity,
        store,
        clock,
        timeFloor: () => timeFloor,
        renewed: (next) => renewed.push(next),
        failed: (error) => failed.push(error.code),
        server: {
          async renew(request) {
            requests.push(request);
            if (!online) throw new Error('no route');
            return authority.signDevice(request.csr, request.device);
          },
        },
      },
      identity,
    );
    return { clock, requests, renewed, failed, stop, offline: (off: boolean) => (online = !off) };
  };
  const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

  it('happens at two thirds of the certificate’s life, with a new key, signed by the report key', async () => {
    const { identity, store } = await enrolled();
    const dueAt = renewalDueAt(x509Identity.datesOf(identity.certificate));
    const early = renewing(identity, store, dueAt - 60_000);
    await settle();
    expect(early.requests).toHaveLength(0);
    early.stop.stop();
    const due = renewing(identity, store, dueAt + 1);
    await expect.poll(() => due.renewed.length).toBe(1);
    due.stop.stop();
    const [request] = due.requests;
    const signed = renewalBytes(identity.device, request!.at, request!.csr);
    const publicKey = (await import('../../../agent/src/system-clock.ts')).nativeSigner(
      Buffer.from(identity.reportSeed, 'hex'),
    ).publicKey;
    expect(nativeVerify(publicKey, signed, Buffer.from(request!.signature, 'hex'))).toBe(true);
    expect(due.renewed[0]!.tlsKey).not.toBe(identity.tlsKey);
    expect(store.load()).toEqual(due.renewed[0]);
  });

  it('is tried again after an hour when the server cannot be reached, and keeps the old certificate', async () => {
    const { identity, store } = await enrolled();
    const run = renewing(identity, store, renewalDueAt(x509Identity.datesOf(identity.certificate)) + 1);
    run.offline(true);
    await expect.poll(() => run.failed).toEqual(['INTERNAL']);
    expect(store.load()).toEqual(identity);
    run.offline(false);
    await run.clock.advance(3_600_000);
    await expect.poll(() => run.renewed.length).toBe(1);
    run.stop.stop();
  });

  it('at a clock of 1970 works from the time floor', async () => {
    const { identity, store } = await enrolled();
    const floor = identity.enrolledAt;
    const run = renewing(identity, store, 0, floor);
    await settle();
    expect([run.requests, run.failed]).toEqual([[], []]);
    run.stop.stop();
  });
});
