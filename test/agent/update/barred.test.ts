/** What offline keys withdraw after it was installed, in the machine; the shell’s part is in run-update.test.ts. */
import { installedIn, leaveBarred, withoutBarred, withoutFallen } from '@skein/agent/update/barred.ts';
import { resumeUpdate, stepUpdate } from '@skein/agent/update/machine.ts';
import type { Barred } from '@skein/agent/update/ports.ts';
import type { PhaseName, Release, Step, UpdateState } from '@skein/agent/update/state.ts';
import { describe, expect, it } from 'vitest';
import { AGREED, MODEL, NEW, OLD, PHASES, stateIn } from './example.ts';

const against = (release: Release, code: Barred['code'] = 'MODEL_REVOKED'): Barred => ({
  model: MODEL,
  version: release.version,
  manifestSha256: release.manifest.sha256,
  code,
  message: `${release.version} was withdrawn`,
});
const words = ({ effects }: Step): string[] =>
  effects.map((e) => (e.type === 'activate' ? `activate ${e.purpose} ${e.release.version}` : e.type));
const both = (name: PhaseName, more: Partial<UpdateState> = {}) =>
  stateIn(name, { committed: NEW, previous: OLD, ...more });

describe('a release below a floor that is known without any document', () => {
  const backTo = (release?: number) =>
    both('idle', { previous: { ...OLD, ...(release ? { release } : {}) } });

  it('is nothing to go back to', () => {
    expect(withoutFallen(backTo(4), { [MODEL]: 5 }).previous).toBeNull();
    for (const floors of [{ [MODEL]: 4 }, { other: 5 }, {}] as Record<string, number>[])
      expect(withoutFallen(backTo(4), floors)).toEqual(backTo(4));
  });

  it('is not guessed where its counter is not known', () => {
    expect(withoutFallen(backTo(), { [MODEL]: 5 })).toEqual(backTo());
  });
});

describe('a withdrawn version', () => {
  it('is left for the one before it, with a report that says why', () => {
    const step = leaveBarred(both('idle'), [against(NEW)]);
    expect(words(step)).toEqual(['activate boot 1.0.0', 'report', 'prune']);
    expect(step.state).toMatchObject({ committed: OLD, previous: null, bootStarts: 1 });
    expect(step.state.reports.at(-1)).toMatchObject({
      outcome: 'reverted',
      reason: 'MODEL_REVOKED',
      version: '1.1.0',
      order: 'o-new',
      detail: '1.1.0 was withdrawn; back to 1.0.0',
    });
  });

  it('stops when nothing before it may run either', () => {
    for (const [state, barred] of [
      [both('idle'), [against(NEW), against(OLD)]],
      [both('idle'), [against(NEW), against(OLD, 'BELOW_FLOOR')]],
      [stateIn('idle'), [against(OLD)]],
    ] as const) {
      const step = leaveBarred(state, barred);
      expect(words(step)).toEqual(['deactivate', 'report', 'prune']);
      expect(step.state).toMatchObject({ committed: null, previous: null });
    }
  });

  it('is left once', () => {
    const once = leaveBarred(both('idle'), [against(NEW)]).state;
    expect(leaveBarred(once, [against(NEW)])).toEqual({ state: once, effects: [] });
  });

  it('behind the one that runs is no longer there to go back to', () => {
    for (const code of ['MODEL_REVOKED', 'BELOW_FLOOR'] as const) {
      const step = leaveBarred(both('idle'), [against(OLD, code)]);
      expect([words(step), step.state.committed, step.state.previous]).toEqual([['prune'], NEW, null]);
    }
  });

  it('below a raised floor runs on until its successor is proven', () => {
    const state = stateIn('idle', { previous: null });
    expect(leaveBarred(state, [against(OLD, 'BELOW_FLOOR')]).state).toBe(state);
  });

  it('of another model says nothing about this one', () => {
    const state = both('idle');
    expect(withoutBarred(state, [{ ...against(NEW), model: 'other' }])).toBe(state);
  });

  it.each(['downloading', 'preflight'] as const)(
    'does not wait for a slow %s, which is taken up again',
    (name) => {
      const step = leaveBarred(stateIn(name, { previous: null }), [against(OLD)]);
      expect(words(step)).toEqual(['deactivate', 'report', 'prune', 'fetch']);
      expect(step.state.phase).toMatchObject({ name: 'fetching', agreed: AGREED });
    },
  );

  it.each(['activating', 'probation'] as const)(
    'leaves a trial of another version alone while %s',
    (name) => {
      const step = leaveBarred(stateIn(name, { previous: null }), [against(OLD)]);
      expect(words(step)).toEqual(['report', 'prune']);
      expect(step.state).toMatchObject({ committed: null, phase: PHASES[name] });
    },
  );

  it('is asked about again when a return to it has ended', () => {
    const state = stateIn('reverting', { previous: null });
    expect(leaveBarred(state, [against(OLD)]).state).toBe(state);
  });

  it('that is on trial is taken back by its own order', () => {
    const refused = {
      order: AGREED.order,
      code: 'MODEL_REVOKED',
      message: 'withdrawn',
      final: true as const,
    };
    const view = { agreed: null, refused, refreshedMono: 0, barred: [against(NEW)] };
    const step = stepUpdate(stateIn('probation'), { type: 'orders', view }, 0);
    expect([step.state.phase.name, words(step)]).toEqual(['reverting', ['activate revert 1.0.0']]);
  });

  it('makes way and lets the orders of the same view be heeded', () => {
    const view = { agreed: AGREED, refused: null, refreshedMono: 0, barred: [against(OLD)] };
    const step = stepUpdate(stateIn('idle', { previous: null }), { type: 'orders', view }, 0);
    expect(words(step)).toEqual(['deactivate', 'report', 'prune', 'report', 'fetch']);
  });

  it('does not run for a moment after a start', () => {
    const left = withoutBarred(both('idle'), [against(NEW)]);
    expect(words(resumeUpdate(left))).toEqual(['activate boot 1.0.0', 'report', 'look']);
    const none = withoutBarred(stateIn('idle', { previous: null }), [against(OLD)]);
    expect(words(resumeUpdate(none))).toEqual(['report', 'look']);
  });
});

it('reads what is installed from saved states, and nothing from damaged ones', () => {
  const saved: Record<string, string> = { host: JSON.stringify(both('idle')), bad: '{"model":' };
  const store = { models: () => [...Object.keys(saved), 'gone'], load: (model: string) => saved[model] };
  expect(installedIn(store)).toEqual([
    { model: 'host', version: '1.1.0', manifestSha256: NEW.manifest.sha256 },
    { model: 'host', version: '1.0.0', manifestSha256: OLD.manifest.sha256 },
  ]);
});
