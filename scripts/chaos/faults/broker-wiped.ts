/** The broker comes back and remembers nobody: what it kept on its disk is gone. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Strike } from '../plan.ts';
import type { Fault } from './fault.ts';

export const brokerWiped: Fault<Extract<Strike, { kind: 'broker-wiped' }>> = {
  async begin(field) {
    await field.broker!.kill();
    const folder = join(field.folder, 'mosquitto');
    for (const name of readdirSync(folder).filter((one) => one.includes('.db'))) rmSync(join(folder, name));
    field.broker!.start();
    return undefined;
  },
};
