/** Follows one rollout over the event stream and repaints its stages; without a terminal, one line a change. */
import type { RolloutView } from '@skein/protocol/rollout.ts';
import type { ApiClient } from './client.ts';

export interface WatchScreen {
  /** Repaint in place; else lines. */
  live: boolean;
  write(text: string): void;
  columns: number;
}

const FINAL: readonly RolloutView['state'][] = ['done', 'halted', 'aborted', 'rolled-back'];

/** Until it ends, or is held with nobody to wait for. Resolves to the last view. */
export async function watchRollout(api: ApiClient, id: string, screen: WatchScreen): Promise<RolloutView> {
  const abort = new AbortController();
  // The stream is open before the first look, so no change falls between them.
  const events = api.events(abort.signal)[Symbol.asyncIterator]();
  let next = events.next();
  let view = await api.call('showRollout', { params: { id } });
  const paint = painter(screen);
  paint(view);
  while (!isOver(view)) {
    const event = await Promise.race([next, after(LOOK_EVERY_MS)]);
    if (event?.done) break;
    if (event) next = events.next();
    const fresh = event
      ? await freshView(api, id, event.value)
      : await api.call('showRollout', { params: { id } });
    if (!fresh || fresh.revision < view.revision) continue;
    view = fresh;
    paint(view);
  }
  abort.abort();
  void next.catch(() => undefined);
  return view;
}

/** The stream leaves out what is too long for it; a look now and then does not. */
const LOOK_EVERY_MS = 5_000;
const after = (millis: number): Promise<undefined> =>
  new Promise((wake) => setTimeout(() => wake(undefined), millis).unref());

/** A rollout that is taken back ends when every device has confirmed it, as far as people at the screen care. */
const isOver = (view: RolloutView): boolean =>
  FINAL.includes(view.state) || (view.state === 'held' && !view.targets.some(isBusy));

const isBusy = (t: RolloutView['targets'][number]): boolean =>
  ['ordered', 'updating', 'probation'].includes(t.state);

async function freshView(
  api: ApiClient,
  id: string,
  event: { type: string; data: unknown },
): Promise<RolloutView | undefined> {
  if (event.type === 'reset') return api.call('showRollout', { params: { id } });
  if (event.type !== 'rollout') return undefined;
  const view = event.data as RolloutView;
  return view.id === id ? view : undefined;
}

function painter(screen: WatchScreen): (view: RolloutView) => void {
  let painted = 0;
  let last = '';
  return (view) => {
    if (!screen.live) {
      const line = lineOf(view);
      if (line !== last) screen.write(`${line}\n`);
      last = line;
      return;
    }
    const lines = stageLines(view, screen.columns);
    // Up over what was painted before, then clear to the end of the screen.
    screen.write(`${painted > 0 ? `\x1b[${painted}A\x1b[J` : ''}${lines.join('\n')}\n`);
    painted = lines.length;
  };
}

const lineOf = (view: RolloutView): string => {
  const counts = Object.entries(view.counts).map(([state, n]) => `${n} ${state}`);
  return `${view.state}: ${view.why} [${counts.join(', ')}]`;
};

const BAR_CELLS = 24;
const MARKS: readonly { states: readonly string[]; mark: string }[] = [
  { states: ['committed'], mark: '█' },
  { states: ['unproven'], mark: '▓' },
  { states: ['probation'], mark: '▒' },
  { states: ['updating', 'ordered', 'unconfirmed'], mark: '░' },
  { states: ['failed'], mark: '✗' },
  { states: ['cancelled'], mark: '–' },
  { states: ['waiting'], mark: '·' },
];

/** A header, one bar a stage and why it stands where it does. */
export function stageLines(view: RolloutView, columns: number): string[] {
  const last = Math.max(...view.targets.map((t) => t.stage));
  const bars = Array.from({ length: last + 1 }, (_, stage) => {
    const targets = view.targets.filter((t) => t.stage === stage);
    const proved = targets.filter((t) => t.state === 'committed').length;
    const name = targets[0]?.control ? 'control' : `stage ${stage + 1}`;
    const pointer = stage === view.stage && !FINAL.includes(view.state) ? '▸' : ' ';
    return `${pointer} ${name.padEnd(9)} ${barOf(targets.map((t) => t.state))} ${proved}/${targets.length}`;
  });
  const title = `${view.id}  ${view.spec.model}@${view.spec.version} → ${view.spec.group}  ${view.state}`;
  return [title, ...bars, `  ${view.why}`].map((line) => line.slice(0, columns - 1));
}

function barOf(states: readonly string[]): string {
  if (states.length === 0) return '·'.repeat(BAR_CELLS);
  const rank = (state: string) => MARKS.findIndex((m) => m.states.includes(state));
  const sorted = [...states].sort((a, b) => rank(a) - rank(b));
  const cell = (i: number) => sorted[Math.floor((i * sorted.length) / BAR_CELLS)]!;
  return Array.from({ length: BAR_CELLS }, (_, i) => MARKS[rank(cell(i))]?.mark ?? '?').join('');
}
