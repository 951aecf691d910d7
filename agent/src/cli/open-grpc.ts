/** gRPC beside the local API, as configured. */
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import { type GrpcApi, openGrpcApi } from '../api/grpc-api.ts';
import type { GrpcDeps } from '../api/grpc-server.ts';
import type { Config } from '../config/schema.ts';

/**
 * A port that was asked for must be free; the one that is only our habit must not keep an agent from its work.
 * @throws SkeinError PORT_IN_USE, CONFIG_INVALID
 */
export async function openGrpc(
  deps: GrpcDeps,
  { grpc, grpcPort, grpcSocket, host, port }: Config['api'],
  token: string | undefined,
  log: Log,
): Promise<GrpcApi | undefined> {
  if (!grpc) return undefined;
  const next = port === 0 || port === 65_535 ? 0 : port + 1;
  try {
    return await openGrpcApi(deps, {
      ...{ host, port: grpcPort ?? next },
      ...(grpcSocket === undefined ? {} : { socket: grpcSocket }),
      ...(token === undefined ? {} : { token }),
    });
  } catch (thrown) {
    const { code, fix, message } = asSkeinError(thrown);
    if (grpcPort !== undefined || code !== 'PORT_IN_USE') throw thrown;
    log.warn(`no gRPC: ${message}`, { code, fix });
    return undefined;
  }
}
