/** The device in a process of its own: `device-process.ts START.json`; what it did stands on stdout, a line a step. */
import { readFileSync, writeSync } from 'node:fs';
import { type DeviceStart, liveUntil } from './device.ts';

const start = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as DeviceStart;
await liveUntil(start, (life) => void writeSync(1, `${JSON.stringify(life)}\n`));
process.exit(0);
