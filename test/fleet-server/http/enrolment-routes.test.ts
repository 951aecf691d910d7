import { enrolmentRoutes } from '@skein/fleet-server/http/enrolment-routes.ts';
import { describe, expect, it } from 'vitest';

const enrolFrom = (publicHost: string, ip: string): Promise<unknown> => {
  const enrolled: string[] = [];
  const routes = enrolmentRoutes({
    publicHost,
    enrolment: { enrol: async () => ({ device: 'd-1' }) } as never,
    view: { refresh: async (id: string) => void enrolled.push(id) } as never,
  });
  return (async () => {
    await routes.enrol!({ body: {}, raw: { ip } } as never);
    return enrolled;
  })();
};

describe('enrolling', () => {
  it.each([
    ['localhost', '192.168.1.20'],
    ['127.0.0.1', '10.0.0.5'],
    ['localhost', '2001:db8::5'],
  ])('is refused when the server would tell %s to a device at %s', async (host, ip) => {
    await expect(enrolFrom(host, ip)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      fix: expect.stringContaining('SKEIN_PUBLIC_URL'),
    });
  });

  it.each([
    ['localhost', '127.0.0.1'],
    ['localhost', '::1'],
    ['localhost', '::ffff:127.0.0.1'],
    ['fleet.example.org', '192.168.1.20'],
  ])('works with %s for a device at %s, which the fleet view then knows', async (host, ip) => {
    expect(await enrolFrom(host, ip)).toEqual(['d-1']);
  });
});
