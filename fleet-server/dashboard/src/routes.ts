/** Hash routes, both ways, pure. The hash never reaches the server, so a login secret stays out of every log. */
export type Route =
  | { page: 'fleet' }
  | { page: 'device'; id: string }
  | { page: 'models' }
  | { page: 'rollouts' }
  | { page: 'new-rollout'; model?: string; version?: string }
  | { page: 'rollout'; id: string }
  | { page: 'drift'; device?: string }
  | { page: 'login'; secret: string }
  | { page: 'unknown'; path: string };

const decode = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

export function parseRoute(hash: string): Route {
  const parts = hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decode);
  const [first, second, third, fourth] = parts;
  if (!first) return { page: 'fleet' };
  if (first === 'devices') return second ? { page: 'device', id: second } : { page: 'fleet' };
  if (first === 'models') return { page: 'models' };
  if (first === 'rollouts') {
    if (!second) return { page: 'rollouts' };
    if (second !== 'new') return { page: 'rollout', id: second };
    return third && fourth ? { page: 'new-rollout', model: third, version: fourth } : { page: 'new-rollout' };
  }
  if (first === 'drift') return second ? { page: 'drift', device: second } : { page: 'drift' };
  if (first === 'login' && second) return { page: 'login', secret: second };
  return { page: 'unknown', path: hash };
}

const path = (...parts: string[]): string => `#/${parts.map(encodeURIComponent).join('/')}`;

export function hrefTo(route: Route): string {
  switch (route.page) {
    case 'fleet':
      return '#/';
    case 'device':
      return path('devices', route.id);
    case 'models':
      return path('models');
    case 'rollouts':
      return path('rollouts');
    case 'new-rollout':
      return route.model && route.version
        ? path('rollouts', 'new', route.model, route.version)
        : path('rollouts', 'new');
    case 'rollout':
      return path('rollouts', route.id);
    case 'drift':
      return route.device ? path('drift', route.device) : path('drift');
    case 'login':
      return path('login', route.secret);
    case 'unknown':
      return route.path;
  }
}
