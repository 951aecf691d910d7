/** How the daemon asks the start of its package to keep what was compiled. From sources nothing answers. */
const KEEP = Symbol.for('skein.keepCompiled');

type Asked = { [KEEP]?: () => void };

export function onKeepCompiled(keep: () => void): void {
  (globalThis as Asked)[KEEP] = keep;
}

export const keepCompiled = (): void => (globalThis as Asked)[KEEP]?.();
