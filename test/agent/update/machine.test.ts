import { resumeUpdate, STARTS_MAX, stepUpdate } from '@skein/agent/update/machine.ts';
import { NO_STATS, type ProbationStats } from '@skein/agent/update/ports.ts';
import {
  blobsKeptBy,
  type Fault,
  newUpdateState,
  type PhaseName,
  type Step,
  type UpdateEvent,
  type UpdateState,
} from '@skein/agent/update/state.ts';
import { describe, expect, it } from 'vitest';
import {
  AGREED,
  agreedOrder,
  GOOD_STATS,
  GOOD_VERDICT,
  MODEL,
  NEW,
  OLD,
  PHASES,
  seen,
  stateIn,
} from './example.ts';

const order = 'o-new';
const passing: Fault = { code: 'UNREACHABLE', message: 'no answer', retry: 'always' };
const doubtful: Fault = { code: 'BLOB_MISMATCH', message: 'other bytes', retry: 'few' };
const final: Fault = { code: 'MANIFEST_INVALID', message: 'no variants', retry: 'never' };
const crashed: Fault = { code: 'MODEL_CRASHED', message: 'SIGSEGV', retry: 'never' };

const failed = (phase: 'fetching' | 'downloading' | 'preflight', fault: Fault): UpdateEvent => {
  return { type: 'failed', order, phase, fault };
};
const trial = (loaded = NEW.model.sha256): UpdateEvent => {
  return { type: 'activated', purpose: 'trial', order, loaded, before: GOOD_STATS };
};
/** Of these, what the server hears. */
const reported = ({ p95AtLeastUs: _, ...heard }: ProbationStats) => heard;
const judged = (stats = GOOD_STATS): UpdateEvent => ({ type: 'judged', order, stats });
const withdrawn = seen(null);

/** Effects as words, to be read beside the events. */
const words = ({ effects }: Step): string =>
  effects
    .map((e) => {
      if (e.type === 'report') return `report ${e.report.outcome}`;
      return e.type === 'activate' ? `activate ${e.purpose} ${e.release.version}` : e.type;
    })
    .join(', ');

describe('every transition', () => {
  type Row = [from: PhaseName, event: UpdateEvent, to: PhaseName, effects: string];
  // biome-ignore format: the table is read by its columns
  const table: [string, ...Row][] = [
    ['a new order is taken up',                'idle',        seen(AGREED),                                     'fetching',    'report started, fetch'],
    ['no order leaves it idle',                'idle',        withdrawn,                                        'idle',        ''],
    ['a manifest that came is planned',        'fetching',    { type: 'fetched', order, release: NEW },         'downloading', 'download'],
    ['the same order changes nothing',         'fetching',    seen(AGREED),                                     'fetching',    ''],
    ['an unreachable server is tried again',   'fetching',    failed('fetching', passing),                      'fetching',    'backoff'],
    ['after the wait it fetches again',        'fetching',    { type: 'retry', order },                         'fetching',    'fetch'],
    ['a wrong manifest is refused',            'fetching',    failed('fetching', final),                        'idle',        'report refused, prune, look'],
    ['a withdrawn order is cancelled',         'fetching',    withdrawn,                                        'idle',        'report cancelled, prune, look'],
    ['a whole download is tried out',          'downloading', { type: 'downloaded', order },                    'preflight',   'report downloaded, preflight'],
    ['a broken download goes on',              'downloading', failed('downloading', passing),                   'downloading', 'backoff'],
    ['a full disk is no reason to refuse',     'downloading', failed('downloading', { ...passing, code: 'DISK_FULL' }), 'downloading', 'backoff'],
    ['a fault of another phase is late',       'downloading', failed('fetching', final),                        'downloading', ''],
    ['what passes preflight is ready',         'preflight',   { type: 'preflighted', order, verdict: GOOD_VERDICT }, 'ready',  'report preflighted, look'],
    ['a preflight that could not be held',     'preflight',   { type: 'preflighted', order, verdict: { ...GOOD_VERDICT, ok: false, environment: true } }, 'preflight', 'backoff'],
    ['what fails preflight is refused',        'preflight',   { type: 'preflighted', order, verdict: { ...GOOD_VERDICT, ok: false, code: 'GOLDEN_MISMATCH' } }, 'idle', 'report refused, prune, look'],
    ['fresh orders let it start',              'ready',       seen(AGREED, null, 999_000),                      'activating',  'activate trial 1.1.0'],
    ['stale orders are asked for again',       'ready',       seen(AGREED, null, 399_000),                      'ready',       'backoff'],
    ['the wait over, it asks for orders',      'ready',       { type: 'retry', order },                         'ready',       'refresh'],
    ['withdrawn while ready is cancelled',     'ready',       withdrawn,                                        'idle',        'report cancelled, prune, look'],
    ['what runs is watched',                   'activating',  trial(),                                          'probation',   'report probation, judge'],
    ['other bytes than ordered are taken back','activating',  trial('9'.repeat(64)),                            'reverting',   'activate revert 1.0.0'],
    ['a model that will not load is reverted', 'activating',  { type: 'activateFailed', purpose: 'trial', order, fault: crashed }, 'idle', 'report reverted, prune, look'],
    ['a busy device tries the load again',     'activating',  { type: 'activateFailed', purpose: 'trial', order, fault: passing }, 'ready', 'backoff'],
    ['what the disk lost is fetched again',    'activating',  { type: 'activateFailed', purpose: 'trial', order, fault: doubtful, lost: true }, 'downloading', 'backoff'],
    ['withdrawn while loading is taken back',  'activating',  withdrawn,                                        'reverting',   'activate revert 1.0.0'],
    ['too little yet is judged later',         'probation',   judged(NO_STATS),                                 'probation',   'judge'],
    ['enough is committed',                    'probation',   judged(),                                         'idle',        'report committed, prune, look'],
    ['NaN is taken back',                      'probation',   judged({ ...GOOD_STATS, notFinite: 1 }),          'reverting',   'activate revert 1.0.0'],
    ['errors are taken back',                  'probation',   judged({ ...GOOD_STATS, errors: 9 }),             'reverting',   'activate revert 1.0.0'],
    ['withdrawn in probation is taken back',   'probation',   withdrawn,                                        'reverting',   'activate revert 1.0.0'],
    ['the last good model is back',            'reverting',   { type: 'activated', purpose: 'revert', order, loaded: OLD.model.sha256, before: NO_STATS }, 'idle', 'report reverted, prune, look'],
    ['a trial that ends late changes nothing', 'reverting',   trial(),                                          'reverting',   ''],
    ['new orders wait for the way back',       'reverting',   withdrawn,                                        'reverting',   ''],
    ['no way back leaves nothing running',     'reverting',   { type: 'activateFailed', purpose: 'revert', order, fault: crashed }, 'idle', 'deactivate, report reverted, prune, look'],
  ];

  it.each(table)('%s', (_, from, event, to, effects) => {
    const step = stepUpdate(stateIn(from), event, 1_000_000);
    expect([step.state.phase.name, words(step)]).toEqual([to, effects]);
  });

  it('ignores events of an order that is over, in every phase', () => {
    const late: UpdateEvent[] = [
      { type: 'fetched', order: 'o-gone', release: NEW },
      { type: 'downloaded', order: 'o-gone' },
      { type: 'preflighted', order: 'o-gone', verdict: GOOD_VERDICT },
      { type: 'judged', order: 'o-gone', stats: GOOD_STATS },
      { type: 'retry', order: 'o-gone' },
      { type: 'activated', purpose: 'trial', order: 'o-gone', loaded: NEW.model.sha256, before: NO_STATS },
      { type: 'activateFailed', purpose: 'revert', order: 'o-gone', fault: crashed },
    ];
    for (const name of ['idle', ...Object.keys(PHASES)] as PhaseName[]) {
      const state = stateIn(name);
      for (const event of late) expect(stepUpdate(state, event, 0)).toEqual({ state, effects: [] });
    }
  });
});

describe('orders', () => {
  it('are carried out once: an id that ended is never taken up again', () => {
    for (const outcome of ['committed', 'refused', 'reverted', 'cancelled', 'unproven'] as const) {
      const state = stateIn('idle', { ended: [{ order, outcome }] });
      expect(stepUpdate(state, seen(AGREED), 0)).toEqual({ state, effects: [] });
    }
  });

  it('that are newer replace older ones: the old is reported cancelled, the new begins at once', () => {
    const next = agreedOrder('o-newer', '1.2.0');
    for (const name of ['fetching', 'downloading', 'preflight', 'ready'] as const) {
      const step = stepUpdate(stateIn(name), seen(next), 0);
      expect(words(step)).toBe('report cancelled, prune, look, report started, fetch');
      expect(step.state.phase).toMatchObject({ name: 'fetching', agreed: { order: { id: 'o-newer' } } });
      expect(step.state.ended).toEqual([{ order, outcome: 'cancelled' }]);
      expect(step.state.reports[0]).toMatchObject({ reason: 'ORDER_SUPERSEDED', detail: 'by order o-newer' });
    }
  });

  it('that replace a running trial wait until the last good model is back', () => {
    const next = agreedOrder('o-newer', '1.2.0');
    const reverting = stepUpdate(stateIn('probation'), seen(next), 0).state;
    const back: UpdateEvent = {
      type: 'activated',
      purpose: 'revert',
      order,
      loaded: OLD.model.sha256,
      before: NO_STATS,
    };
    const settled = stepUpdate(reverting, back, 0);
    expect(settled.state.reports.at(-1)).toMatchObject({ outcome: 'cancelled', reason: 'ORDER_SUPERSEDED' });
    expect(settled.state.quarantined).toEqual([]);
    expect(stepUpdate(settled.state, seen(next), 0).state.phase.name).toBe('fetching');
  });

  it('that trust refuses for good are reported once', () => {
    const refused = {
      order: AGREED.order,
      code: 'BELOW_FLOOR',
      message: 'release 1, floor 3',
      final: true as const,
    };
    const step = stepUpdate(stateIn('idle'), seen(null, refused), 0);
    expect(step.state.reports).toMatchObject([
      { id: 'o-new:refused', outcome: 'refused', reason: 'BELOW_FLOOR' },
    ]);
    expect(stepUpdate(step.state, seen(null, refused), 0).effects).toEqual([]);
  });

  it.each([
    ['METADATA_EXPIRED', 'yesterday'],
    ['METADATA_DISAGREES', 'the mirror shows an older snapshot'],
  ])('that %s only keeps from beginning wait: what runs goes on, nothing is given up', (code, message) => {
    const expired = { order: AGREED.order, code, message };
    expect(stepUpdate(stateIn('idle'), seen(null, expired), 0)).toEqual({
      state: stateIn('idle'),
      effects: [],
    });
    for (const name of ['fetching', 'downloading', 'preflight', 'activating', 'probation'] as const) {
      const state = stateIn(name);
      expect(stepUpdate(state, seen(null, expired), 0)).toEqual({ state, effects: [] });
    }
    const ready = stepUpdate(stateIn('ready'), seen(null, expired, 0), 0);
    expect([ready.state.phase.name, words(ready)]).toEqual(['ready', 'backoff']);
  });

  it('that become forbidden while their model runs take it back', () => {
    const refused = {
      order: AGREED.order,
      code: 'BELOW_FLOOR',
      message: 'the floor was raised',
      final: true as const,
    };
    const step = stepUpdate(stateIn('probation'), seen(null, refused), 0);
    expect(step.state.phase).toMatchObject({
      name: 'reverting',
      ending: { outcome: 'reverted', reason: 'BELOW_FLOOR' },
    });
  });

  it('may opt out of freshness', () => {
    const agreed = agreedOrder(order, '1.1.0', null);
    const ready = stateIn('ready', { phase: { ...PHASES.ready, agreed } });
    const step = stepUpdate(ready, seen(agreed, null, Number.NEGATIVE_INFINITY), 0);
    expect(step.state.phase.name).toBe('activating');
  });
});

describe('faults', () => {
  it('that may be the other side’s are tried three times, whatever the network did meanwhile', () => {
    let state = stateIn('downloading');
    for (let i = 0; i < 10; i++) state = stepUpdate(state, failed('downloading', passing), 0).state;
    for (let i = 0; i < 3; i++) {
      const step = stepUpdate(state, failed('downloading', doubtful), 0);
      expect(words(step)).toBe('backoff');
      state = step.state;
    }
    const over = stepUpdate(state, failed('downloading', doubtful), 0);
    expect(over.state.reports.at(-1)).toMatchObject({ outcome: 'refused', reason: 'BLOB_MISMATCH' });
    expect(over.state.quarantined).toEqual([]);
  });

  it('of the environment never end an order nor quarantine its bytes', () => {
    let state: UpdateState = stateIn('preflight');
    const verdict = { ...GOOD_VERDICT, ok: false, environment: true };
    for (let i = 0; i < 50; i++) state = stepUpdate(state, { type: 'preflighted', order, verdict }, 0).state;
    expect(state).toMatchObject({ phase: { name: 'preflight', attempt: 50 }, quarantined: [], reports: [] });
  });

  it('of the packing refuse, but do not bar bytes that may be good in another bundle', () => {
    const verdict = { ...GOOD_VERDICT, ok: false, code: 'GOLDEN_MISMATCH', detail: 'differs by 1' };
    const refused = stepUpdate(stateIn('preflight'), { type: 'preflighted', order, verdict }, 0).state;
    expect(refused.reports.at(-1)).toMatchObject({ outcome: 'refused', reason: 'GOLDEN_MISMATCH' });
    expect(refused.quarantined).toEqual([]);
  });

  it('never bar the bytes of the last good release, which came again under another manifest', () => {
    const same = { ...NEW, model: OLD.model };
    const at = stateIn('probation', { phase: { ...PHASES.probation, release: same } });
    const harmed = stepUpdate(at, judged({ ...GOOD_STATS, notFinite: 1 }), 0).state;
    expect(harmed).toMatchObject({ phase: { name: 'reverting' }, quarantined: [] });
  });

  it('of the model quarantine its bytes, which no later order brings back', () => {
    const verdict = { ...GOOD_VERDICT, ok: false, code: 'MODEL_CRASHED', detail: 'SIGSEGV' };
    const refused = stepUpdate(stateIn('preflight'), { type: 'preflighted', order, verdict }, 0).state;
    expect(refused.quarantined).toEqual([{ sha256: NEW.model.sha256, code: 'MODEL_CRASHED' }]);
    const again = stepUpdate(refused, seen(agreedOrder('o-again')), 0).state;
    const fetched = stepUpdate(again, { type: 'fetched', order: 'o-again', release: NEW }, 0);
    expect(fetched.state.phase.name).toBe('idle');
    expect(fetched.state.reports.at(-1)).toMatchObject({ outcome: 'refused', reason: 'MODEL_QUARANTINED' });
  });
});

describe('a commit', () => {
  const { state } = stepUpdate(stateIn('probation'), judged(), 1_000_000);

  it('makes the release the last good one and keeps the one before', () => {
    expect(state).toMatchObject({ committed: NEW, previous: OLD, ended: [{ order, outcome: 'committed' }] });
    expect(new Set(blobsKeptBy(state))).toEqual(
      new Set([NEW, OLD].flatMap((r) => [r.manifest.sha256, r.model.sha256, r.golden.sha256])),
    );
  });

  it('is reported with its proof: loaded hash, golden vectors, inferences', () => {
    expect(state.reports.at(-1)).toMatchObject({
      id: 'o-new:committed',
      rollout: 'r-one',
      loaded: NEW.model.sha256,
      golden: { passed: 4, total: 4 },
      probation: reported(GOOD_STATS),
    });
  });

  it('is unproven with too few inferences at the deadline: the model stays', () => {
    const few = { ...GOOD_STATS, inferences: 3 };
    const step = stepUpdate(stateIn('probation'), judged(few), 1_059_000);
    expect(step.state).toMatchObject({ phase: { name: 'idle' }, committed: NEW, previous: OLD });
    expect(step.state.reports.at(-1)).toMatchObject({ outcome: 'unproven', probation: reported(few) });
  });

  it('of the release that ran already does not forget the one before', () => {
    const same = { ...OLD, order: NEW.order };
    const at = stateIn('probation', { previous: NEW, phase: { ...PHASES.probation, release: same } });
    expect(stepUpdate(at, judged(), 1_000_000).state).toMatchObject({ committed: same, previous: NEW });
  });
});

describe('latency', () => {
  it('is compared with what the model before did on this device', () => {
    const probation = stepUpdate(stateIn('activating'), trial(), 0).state;
    expect(probation.phase).toMatchObject({ previousP95Us: 900 });
    const slow = stepUpdate(
      probation,
      judged({ ...GOOD_STATS, p95LatencyUs: 36_001, p95AtLeastUs: 36_001 }),
      5_000,
    ).state;
    expect(slow.phase).toMatchObject({ name: 'reverting', ending: { reason: 'PROBATION_SLOW' } });
  });
});

describe('reports', () => {
  it('stay in the state until they are handed over, and are sent again after a crash', () => {
    const { state } = stepUpdate(stateIn('probation'), judged(), 1_000_000);
    expect(resumeUpdate(state).effects.filter((e) => e.type === 'report')).toHaveLength(1);
    const handed = stepUpdate(state, { type: 'reported', id: 'o-new:committed' }, 0).state;
    expect(handed.reports).toEqual([]);
    expect(words(resumeUpdate(handed))).toBe('activate boot 1.1.0, look');
  });

  it('are bounded; milestones are given up before endings', () => {
    let state = newUpdateState(MODEL);
    for (let i = 0; i < 200; i++) {
      const agreed = agreedOrder(`o-${i}`);
      state = stepUpdate(state, seen(agreed), 0).state;
      state = stepUpdate(state, withdrawn, 0).state;
    }
    expect(state.reports).toHaveLength(64);
    expect(new Set(state.reports.map((r) => r.outcome))).toEqual(new Set(['cancelled']));
    expect(state.reports.at(-1)?.id).toBe('o-199:cancelled');
    expect(state.ended).toHaveLength(64);
  });
});

describe('after a crash', () => {
  type Row = [from: PhaseName, to: PhaseName, effects: string];
  // biome-ignore format: the table is read by its columns
  const table: Row[] = [
    ['idle',        'idle',        'activate boot 1.0.0, look'],
    ['fetching',    'fetching',    'activate boot 1.0.0, fetch, look'],
    ['downloading', 'downloading', 'activate boot 1.0.0, download, look'],
    ['preflight',   'preflight',   'activate boot 1.0.0, preflight, look'],
    ['ready',       'ready',       'activate boot 1.0.0, look'],
    ['activating',  'ready',       'activate boot 1.0.0, look'],
    ['probation',   'ready',       'activate boot 1.0.0, look'],
    ['reverting',   'idle',        'activate boot 1.0.0, prune, look, report reverted, look'],
  ];
  it.each(table)('in %s it resumes in %s, the last good model first', (from, to, effects) => {
    const step = resumeUpdate(stateIn(from));
    expect([step.state.phase.name, words(step)]).toEqual([to, effects]);
  });

  it('before and after any step it converges to the same end', () => {
    const script: UpdateEvent[] = [
      seen(AGREED, null, 1_000_000),
      { type: 'fetched', order, release: NEW },
      { type: 'downloaded', order },
      { type: 'preflighted', order, verdict: GOOD_VERDICT },
      seen(AGREED, null, 1_000_000),
      trial(),
      judged(),
    ];
    for (let crashAt = 0; crashAt <= script.length; crashAt++) {
      let state = stateIn('idle');
      for (const event of script.slice(0, crashAt)) state = stepUpdate(state, event, 1_002_000).state;
      state = resumeUpdate(JSON.parse(JSON.stringify(state)) as UpdateState).state;
      for (const [i, event] of script.entries())
        state = stepUpdate(state, event, 1_002_000 + i * 2_000).state;
      expect([crashAt, state.committed?.version, state.phase.name]).toEqual([crashAt, '1.1.0', 'idle']);
      expect(state.reports.map((r) => r.outcome)).toContain('committed');
    }
  });

  it('a trial is not loaded again before its orders are fresh', () => {
    const { state } = resumeUpdate(stateIn('probation'));
    const stale = stepUpdate(state, seen(AGREED, null, Number.NEGATIVE_INFINITY), 5);
    expect([stale.state.phase.name, words(stale)]).toEqual(['ready', 'backoff']);
    expect(stepUpdate(stale.state, seen(AGREED, null, 5), 5).state.phase).toMatchObject({
      name: 'activating',
      starts: 2,
    });
  });
});

describe('the start counter', () => {
  it('is raised before the load, and three failed starts revert and quarantine the hash', () => {
    let state = stateIn('ready');
    for (let start = 1; start <= STARTS_MAX; start++) {
      state = stepUpdate(state, seen(AGREED), 0).state;
      expect(state.phase).toMatchObject({ name: 'activating', starts: start });
      state = resumeUpdate(state).state;
    }
    expect(state.phase.name).toBe('idle');
    expect(state.quarantined).toEqual([{ sha256: NEW.model.sha256, code: 'START_FAILED' }]);
    expect(state.reports.at(-1)).toMatchObject({ outcome: 'reverted', reason: 'START_FAILED' });
    expect(state.committed).toEqual(OLD);
  });

  it('does not count a clean stop', () => {
    for (const name of ['activating', 'probation'] as const) {
      expect(stepUpdate(stateIn(name), { type: 'stopping' }, 0).state.phase).toMatchObject({
        name,
        starts: 0,
      });
    }
  });

  it('of the last good model is raised before its load and cleared once it is loaded', () => {
    const booting = resumeUpdate(stateIn('idle')).state;
    expect(booting.bootStarts).toBe(1);
    const loaded = OLD.model.sha256;
    const event: UpdateEvent = {
      type: 'activated',
      purpose: 'boot',
      order: 'o-old',
      loaded,
      before: NO_STATS,
    };
    expect(stepUpdate(booting, event, 0).state.bootStarts).toBe(0);
  });

  it('of the last good model falls back to the one before after three, and says so', () => {
    const step = resumeUpdate(stateIn('idle', { committed: NEW, previous: OLD, bootStarts: STARTS_MAX }));
    expect(words(step)).toBe('activate boot 1.0.0, report reverted, look');
    expect(step.state).toMatchObject({ committed: OLD, previous: null, bootStarts: 1 });
    expect(step.state.quarantined).toEqual([{ sha256: NEW.model.sha256, code: 'START_FAILED' }]);
  });

  it('of a last good model that the disk lost is no start that failed: it is fetched again, and no order ends', () => {
    const before = { ...stateIn('idle'), previous: NEW, bootStarts: 1 };
    const lost: UpdateEvent = {
      ...{ type: 'activateFailed', purpose: 'boot', order: OLD.order.id },
      ...{ fault: doubtful, lost: true },
    };
    const step = stepUpdate(before, lost, 0);
    expect(step.state).toEqual({ ...before, bootStarts: 0, bootTries: 1 });
    expect(step.effects).toEqual([
      { type: 'mend', order: OLD.order.id, release: OLD, before: NEW, attempt: 1 },
    ]);
    expect(words(stepUpdate(step.state, { type: 'bootAgain' }, 0))).toBe('activate boot 1.0.0');
  });

  it('stops loading a model that has nothing behind it, so that the agent itself stays up', () => {
    const step = resumeUpdate(stateIn('idle', { bootStarts: STARTS_MAX }));
    expect(words(step)).toBe('report reverted, look');
  });
});

describe('with no model before', () => {
  it('a failed trial leaves nothing running', () => {
    const alone = stateIn('probation', { committed: null });
    const step = stepUpdate(alone, judged({ ...GOOD_STATS, notFinite: 2 }), 5_000);
    expect([step.state.phase.name, words(step)]).toEqual([
      'idle',
      'deactivate, report reverted, prune, look',
    ]);
  });
});
