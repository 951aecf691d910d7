/** One JSON object a line, as pino writes them: level 30 info, 40 warn, 50 error. */
import type { Log } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

export function jsonLog(name: string, now: () => Millis, write: (line: string) => void): Log {
  const at = (level: number) => (msg: string, data?: Record<string, unknown>) =>
    write(`${JSON.stringify({ level, time: now(), name, msg, ...data })}\n`);
  return { info: at(30), warn: at(40), error: at(50) };
}
