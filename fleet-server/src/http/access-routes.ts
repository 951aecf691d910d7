/** Login, what this server is, the event stream and the audit log. */
import type { AuditVerdict, Role, ServerView } from '@skein/protocol/api.ts';
import { auditViews } from '../access/audit-views.ts';
import { type AccessDeps, createLogin, redeemLogin, SESSION_MS } from '../access/sessions.ts';
import { verifyAudit } from '../access/verify-audit.ts';
import type { EventHub } from './event-stream.ts';
import type { Handlers } from './handlers.ts';
import { DEFAULT_LIMIT, decodeCursor, pageOf } from './paging.ts';
import { SESSION_COOKIE } from './people-port.ts';

export interface AccessRouteDeps extends AccessDeps {
  hub: EventHub;
  /** Asked when needed, because free ports are known only after listening. */
  describe(): Promise<ServerView>;
}

export function accessRoutes(deps: AccessRouteDeps): Handlers {
  const { store, hub, describe } = deps;
  return {
    server: describe,
    async loginLink({ actor }) {
      const { secret, expiresAt } = await createLogin(deps, actor.role);
      const { publicUrl } = await describe();
      // In the fragment, which browsers do not send: it stays out of logs.
      return { url: `${publicUrl}/#/login/${secret}`, expiresAt };
    },
    async login({ body, reply }): Promise<{ role: Role }> {
      const session = await redeemLogin(deps, body.secret);
      const { publicUrl } = await describe();
      const parts = ['Path=/', 'HttpOnly', 'SameSite=Strict', `Max-Age=${SESSION_MS / 1000}`];
      if (publicUrl.startsWith('https:')) parts.push('Secure');
      reply.header('set-cookie', `${SESSION_COOKIE}=${session.secret}; ${parts.join('; ')}`);
      return { role: session.role };
    },
    events: (request) => hub.serve(request),
    async audit({ query }) {
      const limit = query.limit ?? DEFAULT_LIMIT;
      const before =
        query.cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(decodeCursor(query.cursor));
      const rows = await store
        .selectFrom('audit')
        .selectAll()
        .where('seq', '<', before)
        .orderBy('seq', 'desc')
        .limit(limit + 1)
        .execute();
      return pageOf(await auditViews(store, rows), limit, (item) => item.seq);
    },
    async verifyAudit(): Promise<AuditVerdict> {
      const { broken, ...rest } = await verifyAudit(store);
      return { holds: broken === undefined, ...rest, broken: broken ?? null };
    },
  };
}
