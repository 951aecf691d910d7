import { ROUTES } from '@skein/protocol/api.ts';
import { endpointOf, filledPath, type RouteName } from '@skein/protocol/endpoints.ts';
import { describe, expect, it } from 'vitest';

describe('the list of endpoints', () => {
  const names = Object.keys(ROUTES) as RouteName[];

  it('gives each route the method and path of its own name, and no two the same', () => {
    const seen = new Set<string>();
    for (const name of names) {
      const { method, path } = ROUTES[name];
      expect({ name, method, path }).toEqual({ name, ...endpointOf(name) });
      expect(path).toMatch(/^\/v1(\/(:[a-z0-9]+|[a-z-]+))+$/);
      seen.add(`${method} ${path}`);
    }
    expect(seen.size).toBe(names.length);
    expect(names.length).toBeGreaterThan(40);
  });

  it('fills parameters in, escaped', () => {
    const named = { name: 'a/b', version: '1.0.0' };
    expect(filledPath(endpointOf('showModel'), named)).toBe('/v1/models/a%2Fb/1.0.0');
    expect(filledPath(endpointOf('showDevice'))).toBe('/v1/devices/');
  });
});
