/** Every kind there is, and what of it this machine cannot do. */
import { execFileSync } from 'node:child_process';
import { isOnPath } from '../../apt-tools.ts';
import { findFaketime } from '../linux-faketime.ts';
import { lacksNamespaces } from '../linux-netns.ts';
import type { Strike, StrikeKind } from '../plan.ts';
import { brokerWiped } from './broker-wiped.ts';
import { clock } from './clock.ts';
import { diskFull } from './disk-full.ts';
import type { Fault } from './fault.ts';
import { fsyncEio } from './fsync-eio.ts';
import { hostileBroker } from './hostile-broker.ts';
import { kill } from './kill.ts';
import { network } from './network.ts';
import { partition } from './partition.ts';
import { pause } from './pause.ts';
import { restored } from './restored.ts';

export const FAULTS: { [K in StrikeKind]: Fault<Extract<Strike, { kind: K }>> } = {
  kill,
  pause,
  partition,
  network,
  'disk-full': diskFull,
  'fsync-eio': fsyncEio,
  clock,
  'broker-wiped': brokerWiped,
  restored,
  'hostile-broker': hostileBroker,
};

export const KINDS = Object.keys(FAULTS) as StrikeKind[];

export const faultOf = (strike: Strike): Fault => FAULTS[strike.kind] as Fault;

/** Kind → what is missing for it here. */
export function missing(): Map<StrikeKind, string> {
  const lacks = new Map<StrikeKind, string>();
  if (!canMount()) lacks.set('disk-full', 'may not mount a small disk; be root');
  if (!isOnPath('strace')) lacks.set('fsync-eio', 'apt-get install strace');
  if (!findFaketime()) lacks.set('clock', 'apt-get install faketime');
  const unable = lacksNamespaces();
  if (unable !== undefined) lacks.set('network', unable);
  return lacks;
}

/** In a mount namespace of its own, so that nothing is left. */
function canMount(): boolean {
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
