/** One clock for the whole page: `now` ticks each second while the page is visible, so relative times stay true. */
import { signal } from '@preact/signals';

export const now = signal(Date.now());

export function startTicking(): void {
  const tick = () => {
    if (document.visibilityState === 'visible') now.value = Date.now();
  };
  setInterval(tick, 1000);
  document.addEventListener('visibilitychange', tick);
}
