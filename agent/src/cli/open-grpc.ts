/** gRPC beside the local API, as configured. */
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import { type GrpcApi, openGrpcApi } from '../api/grpc-api.ts';
import type { GrpcDeps } from '../api/grpc-server.ts';
import type { Config } from '../config.ts';

/**
 * A port that was asked for must be free; the one that is only our habit must not keep an agent from its work.
 * @throws SkeinError PORT_IN_USE, CONFIG_INVALID
 */
export async function openGrpc(
  deps: GrpcDeps,
  { grpc, grpcPort, host, port }: Config['api'],
  log: Log,
): Promise<GrpcApi | undefined> {
  if (!grpc) return undefined;
  if (grpcPort !== undefined) return openGrpcApi(deps, { host, port: grpcPort });
  try {
    return await openGrpcApi(deps, { host, port: port === 0 || port === 65_535 ? 0 : port + 1 });
  } catch (thrown) {
    const { code, fix, message } = asSkeinError(thrown);
    log.warn(`no gRPC: ${message}`, { code, fix });
    return undefined;
  }
}
