/** What may fail because of what lies on the disk, and then is as if it were not there. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
