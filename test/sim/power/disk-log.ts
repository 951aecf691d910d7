/**
 * The log of `strace -f -y -xx -s N` as operations on the files below one folder, in the order in which they ended. Pure.
 *
 * A call that ended badly did nothing. A call that could change a file and is not known here is an error: a disk that was
 * rebuilt without it would prove nothing.
 */

/** Paths are from the folder; '' is the folder itself. */
export type DiskOp =
  /** Opened for writing: made when it is not there, emptied when asked for. */
  | { op: 'open'; path: string; make: boolean; empty: boolean }
  | { op: 'write'; path: string; offset: number; bytes: Uint8Array }
  | { op: 'truncate'; path: string; size: number }
  | { op: 'rename'; path: string; to: string }
  | { op: 'unlink'; path: string }
  | { op: 'mkdir'; path: string }
  | { op: 'sync'; path: string }
  /** What the program said on its standard output: all before it is known outside. */
  | { op: 'told'; text: string };

/** Every call that changes files, to be traced. */
export const CALLS =
  'open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,truncate,ftruncate,fallocate,fsync,fdatasync,sync_file_range,syncfs,copy_file_range,sendfile';

const CALL = /^(\w+)\((.*)\) += (\d+)/;
const ON_FILE = /^(\d+)<([^>]*)>(\(deleted\))?(?:, )?(.*)$/s;
const TEXT = /"([^"]*)"/g;

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll('\\x', ''), 'hex');
const textOf = (hex: string): string => bytesOf(hex).toString();

export function readDiskLog(log: string, directory: string): DiskOp[] {
  const reader = new Reader(directory);
  const lines = log.split('\n');
  const first = /^\d+/.exec(lines[0]!)?.[0];
  for (const { thread, line } of whole(lines)) reader.take(line, thread === first);
  return reader.ops;
}

/** Calls that another thread interrupted stand in two lines: joined where they ended. */
function* whole(lines: Iterable<string>): Iterable<{ thread: string; line: string }> {
  const begun = new Map<string, string>();
  for (const line of lines) {
    const [, thread, rest] = /^(\d+) +(.*)$/s.exec(line) ?? [];
    if (!thread || rest === undefined) continue;
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/s.exec(rest)?.[1];
    if (rest.endsWith(' <unfinished ...>')) begun.set(thread, rest.slice(0, -' <unfinished ...>'.length));
    else yield { thread, line: resumed === undefined ? rest : `${begun.get(thread) ?? ''}${resumed}` };
  }
}

class Reader {
  readonly ops: DiskOp[] = [];
  readonly #directory: string;
  /** Where the next `write` of a descriptor goes. */
  readonly #positions = new Map<string, number>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @param isMain of the program's first thread; what its children say is not for outside */
  take(line: string, isMain: boolean): void {
    const [, call, words, ended] = CALL.exec(line) ?? [];
    if (!call || words === undefined || ended === undefined) return;
    const onFile = ON_FILE.exec(words);
    if (/^(open|creat|rename|unlink|rmdir|mkdir|link|symlink|truncate)/.test(call)) {
      this.#onPaths(call, words, ended);
    } else if (onFile) this.#onFile(call, onFile, Number(ended), isMain);
  }

  #onPaths(call: string, words: string, descriptor: string): void {
    const [path, to] = [...words.matchAll(TEXT)].map(([, hex]) => this.#below(textOf(hex!)));
    if (path === undefined && to === undefined) return;
    if (/^open(at)?$/.test(call)) {
      const [make, empty] = ['O_CREAT', 'O_TRUNC'].map((flag) => words.includes(flag)) as [boolean, boolean];
      if (words.includes('O_APPEND') || words.includes('O_TMPFILE')) throw unknown(call, words);
      this.#positions.set(`${descriptor} ${path}`, 0);
      if (make || empty) this.ops.push({ op: 'open', path: path!, make, empty });
    } else if (call.startsWith('rename') && path !== undefined && to !== undefined) {
      this.ops.push({ op: 'rename', path, to });
    } else if (/^(unlink|unlinkat|rmdir)$/.test(call)) this.ops.push({ op: 'unlink', path: path! });
    else if (call.startsWith('mkdir')) this.ops.push({ op: 'mkdir', path: path! });
    else throw unknown(call, words);
  }

  #onFile(
    call: string,
    [, descriptor, hex, deleted, rest]: RegExpExecArray,
    ended: number,
    isMain: boolean,
  ): void {
    const path = this.#below(textOf(hex!));
    const texts = [...rest!.matchAll(TEXT)].map(([, text]) => bytesOf(text!));
    if (path === undefined) {
      if (isMain && call === 'write' && descriptor === '1')
        this.ops.push({ op: 'told', text: texts.join('') });
      return;
    }
    // What is written to a file without a name is gone with its name.
    if (deleted) return;
    const numbers = rest!.split(', ').map(Number);
    if (call === 'fsync' || call === 'fdatasync') this.ops.push({ op: 'sync', path });
    else if (call === 'ftruncate') this.ops.push({ op: 'truncate', path, size: numbers[0]! });
    // Blocks set aside past the end: no byte that can be read changes.
    else if (call === 'fallocate' && rest!.startsWith('FALLOC_FL_KEEP_SIZE')) return;
    else if (/^p?writev?(64)?$/.test(call)) {
      const key = `${descriptor} ${path}`;
      const at = call.startsWith('p') ? numbers.at(-1)! : (this.#positions.get(key) ?? 0);
      if (!call.startsWith('p')) this.#positions.set(key, at + ended);
      const bytes = new Uint8Array(Buffer.concat(texts).subarray(0, ended));
      if (bytes.length < ended) throw new Error(`${call} on ${path}: the log holds too few of its bytes`);
      this.ops.push({ op: 'write', path, offset: at, bytes });
    } else throw unknown(call, rest!);
  }

  #below(path: string): string | undefined {
    if (path === this.#directory) return '';
    return path.startsWith(`${this.#directory}/`) ? path.slice(this.#directory.length + 1) : undefined;
  }
}

const unknown = (call: string, words: string) =>
  new Error(`${call}(${words.slice(0, 200)}): a call that this reader does not know`);
