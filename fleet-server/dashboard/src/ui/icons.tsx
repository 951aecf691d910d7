/** Line icons on a 24-unit grid; they stand beside words, so screen readers skip them. */
const PATHS = {
  fleet: 'M4 6h16v10H4zM9 20h6M12 16v4',
  models: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9',
  rollouts: 'M4 18h4v-5h5V8h5M15 5l3 3-3 3',
  drift: 'M3 17c3 0 3-9 6-9s3 9 6 9 3-5 6-5',
  system: 'M4 5h16v11H4zM9 20h6',
  light:
    'M12 8a4 4 0 100 8 4 4 0 000-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19',
  dark: 'M20 14.5A8 8 0 019.5 4 8 8 0 1020 14.5z',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.7"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A skein: geese in flight. */
export function Mark() {
  return (
    <svg
      viewBox="0 0 32 32"
      fill="none"
      stroke="currentColor"
      stroke-width="2.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d="M12 6l4 3.5L20 6M4 13.5L8 17l4-3.5M20 13.5l4 3.5 4-3.5" />
      <path d="M12 22l4 3.5 4-3.5" opacity="0.45" />
    </svg>
  );
}
