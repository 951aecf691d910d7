import { chooseTheme, THEMES, theme } from '../theme.ts';
import { Icon } from '../ui/icons.tsx';

/** Steps through system, light and dark. */
export function ThemeButton() {
  const current = theme.value;
  const next = THEMES[(THEMES.indexOf(current) + 1) % THEMES.length] ?? 'system';
  return (
    <button
      type="button"
      class="button quiet"
      onClick={() => chooseTheme(next)}
      aria-label={`Theme: ${current}. Change to ${next}`}
      title={`Theme: ${current}`}
    >
      <Icon name={current} />
    </button>
  );
}
