/** Light, dark, or as the system says. The choice is this browser's; `themeTurn` tells canvases to read colours anew. */
import { signal } from '@preact/signals';

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'skein.theme';
const stored = (): Theme => {
  const value = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === value) ?? 'system';
};

export const theme = signal<Theme>('system');
export const themeTurn = signal(0);

function apply(next: Theme): void {
  theme.value = next;
  if (next === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  themeTurn.value++;
}

export function chooseTheme(next: Theme): void {
  localStorage.setItem(KEY, next);
  apply(next);
}

export function startTheme(): void {
  apply(stored());
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    themeTurn.value++;
  });
}
