/** Figures for people. Pure: the time now comes in. Numbers keep three significant digits unless they are counts. */
const counts = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

export const count = (n: number): string => counts.format(n);

export function figure(n: number): string {
  if (!Number.isFinite(n)) return '–';
  if (n !== 0 && Math.abs(n) < 0.001) return n.toExponential(1);
  return Math.abs(n) >= 1000 ? counts.format(n) : three.format(n);
}

/** Always two decimals, so that a live score does not jump about. */
export const score = (n: number): string => (Math.abs(n) >= 100 ? counts.format(n) : n.toFixed(2));

export const share = (n: number): string => `${(n * 100).toFixed(n > 0 && n < 0.0995 ? 1 : 0)} %`;

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];
export function bytes(n: number): string {
  const power = n > 0 ? Math.min(UNITS.length - 1, Math.floor(Math.log10(n) / 3)) : 0;
  return `${three.format(n / 1000 ** power)} ${UNITS[power]}`;
}

const STEPS: [number, string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
];

/** `90_000` → `1 min 30 s`: the two largest units, the second left out when it is zero. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const at = STEPS.findIndex(([size]) => ms >= size);
  const [size, name] = STEPS[at] ?? [1000, 's'];
  const whole = Math.floor(ms / size);
  const [nextSize, nextName] = STEPS[at + 1] ?? [0, ''];
  const rest = nextSize ? Math.floor((ms - whole * size) / nextSize) : 0;
  return rest ? `${whole} ${name} ${rest} ${nextName}` : `${whole} ${name}`;
}

/** `12 s ago`; a time up to 5 s ahead (clocks differ) reads as now. */
export function ago(then: number, now: number): string {
  const passed = now - then;
  if (passed < -5000) return `in ${largest(-passed)}`;
  return passed < 2000 ? 'now' : `${largest(passed)} ago`;
}

function largest(ms: number): string {
  const [size, name] = STEPS.find(([unit]) => ms >= unit) ?? [1000, 's'];
  return `${Math.floor(ms / size)} ${name}`;
}

const stamp = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const shortClock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });

export const dateTime = (ms: number): string => stamp.format(ms);
export const timeOfDay = (ms: number, seconds = true): string => (seconds ? clock : shortClock).format(ms);
export const shortHash = (hex: string): string => `${hex.slice(0, 8)}…${hex.slice(-4)}`;
