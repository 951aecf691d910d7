/** What a running model's manifest says about its output, read once per version: the limit that plots draw. */
import { type ReadonlySignal, signal } from '@preact/signals';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { call } from './client.ts';

const limits = new Map<string, ReadonlySignal<number | undefined>>();

/** The score above which the model's own manifest calls a reading an alarm; undefined when it has no such limit. */
export function alarmLimit(model: string | null | undefined): number | undefined {
  if (!model?.includes('@')) return undefined;
  const known = limits.get(model);
  if (known) return known.value;
  const limit = signal<number | undefined>(undefined);
  limits.set(model, limit);
  const [name = '', version = ''] = model.split('@');
  call('showModel', { params: { name, version } }).then(
    (answer) => {
      limit.value = limitOf(answer.manifest as Manifest);
    },
    () => limits.delete(model),
  );
  return limit.value;
}

export function limitOf(manifest: Manifest): number | undefined {
  const { postprocess } = manifest;
  if (postprocess.kind === 'reconstruction') return postprocess.threshold;
  return postprocess.kind === 'regress' ? (postprocess.high ?? undefined) : undefined;
}
