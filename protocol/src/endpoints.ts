/**
 * Method and path of every HTTP route, by the name that `api.ts` gives its schemas under: what who calls them needs. Nothing
 * else is here, because a command of the operator and the page should load in a moment.
 */

const ENDPOINTS = {
  server: 'GET /v1/server',
  login: 'POST /v1/login',
  loginLink: 'POST /v1/login-links',
  createToken: 'POST /v1/tokens',
  listTokens: 'GET /v1/tokens',
  listDevices: 'GET /v1/devices',
  showDevice: 'GET /v1/devices/:id',
  changeDevice: 'PATCH /v1/devices/:id',
  revokeDevice: 'POST /v1/devices/:id/revoke',
  planErasure: 'GET /v1/devices/:id/erasure',
  eraseDevice: 'POST /v1/devices/:id/erase',
  listErasures: 'GET /v1/erasures',
  showErasure: 'GET /v1/erasures/:pseudonym',
  watchDevice: 'POST /v1/devices/:id/watch',
  devicePredictions: 'GET /v1/devices/:id/predictions',
  deviceHealth: 'GET /v1/devices/:id/health',
  drift: 'GET /v1/drift',
  onlineKeys: 'GET /v1/trust/online-keys',
  stageOnlineKeys: 'POST /v1/trust/online-keys',
  trust: 'GET /v1/trust',
  getRoots: 'GET /v1/trust/roots',
  getRoot: 'GET /v1/trust/roots/:repo/:version',
  putRoots: 'PUT /v1/trust/roots',
  replaceRoots: 'POST /v1/trust/roots/replace',
  getTargets: 'GET /v1/trust/targets',
  putTargets: 'PUT /v1/trust/targets',
  putBlob: 'PUT /v1/blobs/:sha256',
  listModels: 'GET /v1/models',
  showModel: 'GET /v1/models/:name/:version',
  createRollout: 'POST /v1/rollouts',
  listRollouts: 'GET /v1/rollouts',
  showRollout: 'GET /v1/rollouts/:id',
  steerRollout: 'POST /v1/rollouts/:id/:action',
  events: 'GET /v1/events',
  audit: 'GET /v1/audit',
  verifyAudit: 'GET /v1/audit/verify',

  enrolTrust: 'GET /v1/enrol/trust',
  enrol: 'POST /v1/enrol',
  renew: 'POST /v1/renew',
  imageDocument: 'GET /v1/image/:file',
  directorDocument: 'GET /v1/director/:file',
  deviceBlob: 'GET /v1/blobs/:sha256',
  deviceDeltas: 'GET /v1/deltas/:sha256',
} as const;

export type RouteName = keyof typeof ENDPOINTS;

export interface Endpoint {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With `:name` where a parameter stands. */
  path: string;
}

export function endpointOf(name: RouteName): Endpoint {
  const [method, path] = ENDPOINTS[name].split(' ') as [Endpoint['method'], string];
  return { method, path };
}

/** With each parameter escaped in its place; what is not given is empty. */
export const filledPath = ({ path }: Endpoint, params: Readonly<Record<string, string>> = {}): string =>
  path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ''));
