/** The zstd of this Node, as agent and server hand it in. */
import type { Zstd } from '@skein/protocol/batch/body.ts';
import { nativeZstd } from '../../../agent/src/node-zstd.ts';

export const zstd: Zstd = nativeZstd!;
