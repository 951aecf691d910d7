/** The process that searches files: one question by IPC, one answer. See `child-search.ts` for why it is one. */
import { searchFiles } from './disk-search.ts';

export interface SearchJob {
  paths: readonly string[];
  text: string;
}

process.once('message', async ({ paths, text }: SearchJob) => {
  const search = await searchFiles(paths, text);
  process.send!(search, () => process.disconnect());
});
