/** Which predictions a sink is told of. */
import type { SinkMessage } from './port.ts';

export const ONLY = ['all', 'alarms', 'changes'] as const;

export interface FilterOptions {
  /** Of this model only. */
  model?: string | undefined;
  /** `alarms`: those that are one. `changes`: where label or alarm differs from the one before of source and model. */
  only: (typeof ONLY)[number];
}

/** Remembers one word for each pair of source and model; both are configured, so they are few. */
export function messageFilter({ model, only }: FilterOptions): (message: SinkMessage) => boolean {
  const before = new Map<string, string>();
  return (message) => {
    if (model !== undefined && message.model !== model) return false;
    if (only === 'alarms') return message.alarm === 1;
    if (only === 'all') return true;
    const who = `${message.source}/${message.model}`;
    const now = `${message.alarm} ${message.label}`;
    if (before.get(who) === now) return false;
    before.set(who, now);
    return true;
  };
}
