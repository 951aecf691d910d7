/** One line that explains a wait or an end: for the dashboard, `rollouts list` and `skein why`. */
import type { RolloutTarget, RolloutView } from '@skein/protocol/rollout.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { isOpen, lastStage, ofStage, type Rollout, soakedAt } from './rollout.ts';

const at = (millis: Millis): string => `${new Date(millis).toISOString().slice(0, 19)}Z`;

const some = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

export function whyRollout(rollout: Rollout): string {
  const { state, stage, hold, stop } = rollout;
  const where = `stage ${stage + 1} of ${lastStage(rollout) + 1}`;
  switch (state) {
    case 'running':
      return `${where}: ${whyRunning(rollout)}`;
    case 'paused':
      return `${where}: paused by a person; resume to go on`;
    case 'held':
      return `${where}: ${hold?.detail ?? 'waits for a person'}; approve to go on, or abort`;
    case 'halted':
      return `halted in ${where}: ${stop ?? 'harm was found'}${unconfirmed(rollout)}`;
    case 'aborted':
      return `aborted in ${where}${unconfirmed(rollout)}`;
    case 'rolled-back':
      return `rolled back by a person${unconfirmed(rollout)}`;
    case 'done': {
      const proven = rollout.targets.filter((t) => t.state === 'committed').length;
      return `done: ${proven} of ${some(rollout.targets.length, 'device')} proved it`;
    }
  }
}

function whyRunning(rollout: Rollout): string {
  const open = ofStage(rollout).filter(isOpen);
  if (open.length === 0) return `soaks until ${at(soakedAt(rollout))}`;
  const names = open.slice(0, 3).map((t) => t.device);
  const more = open.length > names.length ? ` and ${open.length - names.length} more` : '';
  return `waits for ${names.join(', ')}${more} until ${at(rollout.stageDeadlineAt)}`;
}

function unconfirmed(rollout: Rollout): string {
  const waiting = rollout.targets.filter((t) => t.state === 'unconfirmed').length;
  return waiting === 0 ? '' : `; ${some(waiting, 'device')} did not confirm yet`;
}

const TARGET_TEXT: Record<RolloutTarget['state'], string> = {
  waiting: 'waits for its stage',
  ordered: 'is ordered and has not answered: offline, or it has not asked yet',
  updating: 'fetches and tries the version',
  probation: 'runs the version in probation',
  committed: 'proved the version',
  unproven: 'runs the version, with too few inferences to prove it',
  failed: 'refused or reverted the version',
  cancelled: 'does not take part any more',
  unconfirmed: 'was told to go back and has not confirmed it',
};

/** What one device does in a rollout, or undefined when it has no part in it. */
export function whyDevice(view: RolloutView, device: string): string | undefined {
  const target = view.targets.find((t) => t.device === device);
  if (!target) return undefined;
  const what = `${view.spec.model}@${view.spec.version}`;
  const why = target.reason ? ` (${target.reason})` : '';
  const stage = target.control ? 'the control cohort' : `stage ${target.stage + 1}`;
  return `${device}, ${stage} of ${view.id} (${what}, ${view.state}): ${TARGET_TEXT[target.state]}${why}, since ${at(target.updatedAt)}`;
}
