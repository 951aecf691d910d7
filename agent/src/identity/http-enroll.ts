/** The enrolment routes of a server's device port (`/v1/enrol/trust`, `/v1/enrol`, `/v1/renew`). */
import type { Agent } from 'node:https';
import { EnrolAnswer, EnrolTrust, ROUTES } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { checker } from '@skein/protocol/schema.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type { EnrolServer } from './enroll.ts';
import { answerError, exchange } from './http-exchange.ts';
import { believable, blindAgent, startOf, type TlsTrust, tlsAgent } from './http-tls.ts';
import type { RenewRequestSender } from './renew.ts';

const MAX_ANSWER: Bytes = 4 << 20;
const SILENT_MS: Millis = 15_000;

const parseTrust = checker(EnrolTrust, 'MESSAGE_INVALID', MAX_ANSWER);
const parseAnswer = checker(EnrolAnswer, 'MESSAGE_INVALID', MAX_ANSWER);
const parseRenewed = checker(ROUTES.renew.answer, 'MESSAGE_INVALID', MAX_ANSWER);

/** @throws SkeinError CONFIG_INVALID when it is not an https address */
export function deviceUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:') return url;
  throw new SkeinError('CONFIG_INVALID', `${text} is not an https:// address`, {
    fix: 'Give the server’s device address, such as https://fleet.example.com:8443.',
  });
}

async function call(agent: Agent, base: URL, path: string, body?: unknown): Promise<Uint8Array> {
  const url = new URL(path, base);
  const post = body === undefined ? {} : { method: 'POST' as const, body: JSON.stringify(body) };
  const headers = body === undefined ? undefined : { 'content-type': 'application/json' };
  try {
    const answer = await exchange(
      { url, agent, silentMs: SILENT_MS, ...post, ...(headers ? { headers } : {}) },
      MAX_ANSWER,
    );
    if (answer.status !== 200) throw answerError(url, answer);
    return answer.body;
  } finally {
    agent.destroy();
  }
}

/**
 * @param server the device address that a person typed: only the claim token's hash makes it trusted.
 * @param clock a device may be enrolled before it knows the time
 */
export function httpEnrolServer(server: string, clock: Pick<Clock, 'now'>): EnrolServer {
  const base = deviceUrl(server);
  return {
    async trust() {
      return parseTrust.parse(await call(blindAgent(), base, ROUTES.enrolTrust.path), 'CA and roots');
    },
    async enrol(ca, request) {
      const agent = tlsAgent({ ca, ...believable(clock.now(), startOf(ca)) });
      return parseAnswer.parse(await call(agent, base, ROUTES.enrol.path, request), 'enrolment');
    },
  };
}

/** @param trust asked at each renewal: without a client certificate, because it may have expired. */
export function httpRenew(
  server: string,
  trust: () => Omit<TlsTrust, 'certificate' | 'key'>,
): RenewRequestSender {
  const base = deviceUrl(server);
  return {
    async renew(request) {
      return parseRenewed.parse(await call(tlsAgent(trust()), base, ROUTES.renew.path, request), 'renewal');
    },
  };
}
