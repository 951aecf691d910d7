/** Claim tokens and a server's answers with their bytes changed: a device enrols with what it can read again, or not at all. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diskIdentity } from '@skein/agent/identity/disk-identity.ts';
import { type EnrolDeps, enrol } from '@skein/agent/identity/enroll.ts';
import { httpEnrolServer } from '@skein/agent/identity/http-enroll.ts';
import { renewNow } from '@skein/agent/identity/renew.ts';
import { x509Identity } from '@skein/agent/identity/x509-identity.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { openX509Authority, type X509Authority } from '@skein/fleet-server/fleet/x509-authority.ts';
import { formatClaimToken, parseClaimToken, trustHash } from '@skein/protocol/enrolment.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mutations } from '../../mutations.ts';

const HOURS = 3_600_000;
const folder = mkdtempSync(join(tmpdir(), 'skein-answers-'));
const bytes = (text: string) => new TextEncoder().encode(text);
const base64 = (raw: Uint8Array) => Buffer.from(raw).toString('base64');
const [image, director] = [bytes('{"signed":"image"}'), bytes('{"signed":"director"}')];
let authority: X509Authority;
let token: string;
let url: string;
let keys: EnrolDeps['keys'];
let answer: { trust: Uint8Array; enrol: Uint8Array };
let secrets: string[];
let serial = 0;

const server = createServer(async (request, response) => {
  if (request.method === 'GET') return response.end(answer.trust);
  for await (const chunk of request) secrets.push(String(chunk));
  return response.end(answer.enrol);
});
let honest: typeof answer;

beforeAll(async () => {
  authority = await openX509Authority(join(folder, 'ca'), systemClock);
  const { cert, key } = await authority.serverTls(['127.0.0.1']);
  server.setSecureContext({ cert, key });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const trust = trustHash(bytes(authority.ca), image, director);
  token = formatClaimToken({ id: 'abcd', secret: 'S'.repeat(24), trust });
  // One key for all: an answer is for the key of its request.
  const made = await x509Identity.newTlsKey();
  keys = { ...x509Identity, newTlsKey: async () => made };
  const { certificate } = await authority.signDevice(made.csr, 'd-one');
  const urls = { deviceUrl: 'https://fleet:8443', mqttUrl: 'mqtts://fleet:8883' };
  const said = { device: 'd-one', fleet: 'home', certificate, ca: authority.ca, ...urls };
  const shown = { ca: base64(bytes(authority.ca)), image: base64(image), director: base64(director) };
  honest = { trust: bytes(JSON.stringify(shown)), enrol: bytes(JSON.stringify(said)) };
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Enrols a new device; what it keeps, and the refusal. */
async function enrolled(change: Partial<typeof answer>, what: string, by = token) {
  answer = { ...honest, ...change };
  secrets = [];
  const store = diskIdentity(join(folder, `device-${serial++}`));
  const pinned: unknown[] = [];
  const deps = { server: httpEnrolServer(url, systemClock), keys, store, clock: systemClock };
  const failure = await enrol({ ...deps, pin: (roots) => pinned.push(roots) }, by).then(
    () => undefined,
    (thrown: unknown) => {
      if (thrown instanceof SkeinError) return thrown.code;
      return expect.fail(`${what}: ${(thrown as Error).stack}`);
    },
  );
  const kept = store.load();
  expect([kept === undefined, pinned.length], what).toEqual([failure !== undefined, failure ? 0 : 1]);
  return { failure, kept, sent: secrets.length > 0 };
}

describe('an answer with any byte changed', () => {
  it(
    'about whom to trust sends out no secret, unless it says the same',
    async () => {
      for (const { what, bytes: changed } of mutations(honest.trust, 5)) {
        const { failure, kept, sent } = await enrolled({ trust: changed }, what);
        if (failure)
          expect([failure, sent], what).toEqual([
            expect.stringMatching(/^(MESSAGE_INVALID|SERVER_NOT_TRUSTED)$/),
            false,
          ]);
        else expect(kept!.ca, what).toBe(authority.ca);
      }
    },
    HOURS,
  );

  it(
    'to a claim is kept only when it can be read again and its certificate is this device’s',
    async () => {
      for (const { what, bytes: changed } of mutations(honest.enrol, 5)) {
        const { failure, kept } = await enrolled({ enrol: changed }, what);
        if (failure) expect(failure, what).toMatch(/^(MESSAGE_INVALID|SERVER_NOT_TRUSTED)$/);
        else expect([kept!.device, kept!.ca], what).toEqual(['d-one', authority.ca]);
      }
    },
    HOURS,
  );
});

describe('an answer made to hurt', () => {
  const said = (change: object) =>
    bytes(JSON.stringify({ ...JSON.parse(Buffer.from(honest.enrol).toString()), ...change }));

  it.each([
    ['an address that no later start would read', () => said({ mqttUrl: 'http://fleet' })],
    ['an address without end', () => said({ deviceUrl: `https://${'a'.repeat(1_000_000)}` })],
    [
      'text before its certificate',
      () => said({ certificate: `x\n${JSON.parse(Buffer.from(honest.enrol).toString()).certificate}` }),
    ],
    ['a certificate that is none', () => said({ certificate: '-----BEGIN CERTIFICATE-----\n' })],
    ['another’s device id', () => said({ device: 'd-two' })],
    ['a member twice', () => bytes(Buffer.from(honest.enrol).toString().replace('{', '{"device":"d-two",'))],
    ['nesting without end', () => bytes('['.repeat(4_000_000))],
    ['more than it may hold', () => bytes(' '.repeat(5 << 20))],
  ])('with %s leaves the device as it was', async (what, make) => {
    const { failure } = await enrolled({ enrol: make() }, what);
    expect(failure).toMatch(/^(MESSAGE_INVALID|SERVER_NOT_TRUSTED|PAYLOAD_TOO_LARGE)$/);
  });

  it('to a renewal leaves the old identity, which can be read at the next start', async () => {
    answer = honest;
    const store = diskIdentity(join(folder, 'renewed'));
    const deps = { keys, store, clock: systemClock };
    const identity = await enrol(
      { ...deps, server: httpEnrolServer(url, systemClock), pin: () => {} },
      token,
    );
    for (const certificate of [`x\n${identity.certificate}`, identity.certificate + ' '.repeat(70_000), '']) {
      const server = { renew: async () => ({ certificate }) };
      const more = { timeFloor: () => 0, renewed: () => {}, failed: () => {} };
      await expect(renewNow({ ...deps, ...more, server }, identity)).rejects.toBeInstanceOf(SkeinError);
      expect(store.load()).toEqual(identity);
    }
  });
});

describe('a claim token', () => {
  it(
    'with any byte changed is none, or one whose server is not this one, or one that the server does not know',
    async () => {
      for (const { what, bytes: changed } of mutations(bytes(token), 300)) {
        const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(changed);
        let parsed: ReturnType<typeof parseClaimToken>;
        try {
          parsed = parseClaimToken(text);
        } catch (thrown) {
          expect((thrown as SkeinError).code, what).toBe('TOKEN_INVALID');
          continue;
        }
        const same = formatClaimToken(parsed) === token;
        if (!same) expect(parsed, what).not.toEqual(parseClaimToken(token));
      }
    },
    HOURS,
  );

  it('whose hash was changed sends out no secret', async () => {
    const wrong = token.slice(0, -1) + (token.endsWith('0') ? '1' : '0');
    expect(await enrolled({}, 'hash', wrong)).toMatchObject({ failure: 'SERVER_NOT_TRUSTED', sent: false });
  });
});
