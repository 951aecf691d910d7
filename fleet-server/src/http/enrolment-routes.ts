/** Claim tokens, enrolment and renewal. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Enrolment } from '../fleet/enrolment.ts';
import type { FleetView } from '../fleet/view.ts';
import type { HandlerRequest, Handlers } from './handlers.ts';

export interface EnrolmentRouteDeps {
  enrolment: Enrolment;
  view: FleetView;
  /** Host that devices are told to come back to. */
  publicHost: string;
}

export function enrolmentRoutes({ enrolment, view, publicHost }: EnrolmentRouteDeps): Handlers {
  return {
    createToken: ({ body, actor }) => enrolment.createToken(body, actor.name),
    listTokens: async () => ({ items: await enrolment.listTokens(), next: null }),
    enrolTrust: () => enrolment.trust(),
    async enrol({ body, raw }) {
      checkReachable(publicHost, raw);
      const answer = await enrolment.enrol(body);
      await view.refresh(answer.device);
      return answer;
    },
    renew: ({ body }) => enrolment.renew(body),
  };
}

const isLoopback = (host: string): boolean => /^(localhost|127\.|::1$|\[::1\]$|::ffff:127\.)/.test(host);

/** A device elsewhere that is told `localhost` would look for the server in itself. */
function checkReachable(publicHost: string, { ip }: HandlerRequest['raw']): void {
  if (!isLoopback(publicHost) || isLoopback(ip)) return;
  throw new SkeinError(
    'CONFIG_INVALID',
    `this server would tell a device at ${ip} to connect to ${publicHost}`,
    {
      fix: 'Set SKEIN_PUBLIC_URL on the server to an address that the device can reach, and restart it.',
    },
  );
}
