/** What strace says of a program's calls, as operations on the files below one folder. */
import { describe, expect, it } from 'vitest';
import { readDiskLog } from './disk-log.ts';

const hex = (text: string) =>
  [...Buffer.from(text)].map((b) => `\\x${b.toString(16).padStart(2, '0')}`).join('');
const path = (name: string) => `"${hex(`/state${name && `/${name}`}`)}"`;
const on = (descriptor: number, name: string) => `${descriptor}<${hex(`/state${name && `/${name}`}`)}>`;
const opsOf = (...lines: string[]) => readDiskLog(`${lines.join('\n')}\n`, '/state');

describe('the log of calls that change files', () => {
  it('knows what opening, writing, cutting, naming and syncing did', () => {
    const ops = opsOf(
      `7 openat(AT_FDCWD<${hex('/work')}>, ${path('a"b')}, O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0777) = ${on(3, 'a"b')}`,
      `7 write(${on(3, 'a"b')}, "${hex('on')}", 2) = 2`,
      `7 write(${on(3, 'a"b')}, "${hex('e\n')}", 2) = 1`,
      `7 pwrite64(${on(3, 'a"b')}, "${hex('zz')}", 2, 5) = 2`,
      `7 pwritev(${on(3, 'a"b')}, [{iov_base="${hex('p')}", iov_len=1}, {iov_base="${hex('q')}", iov_len=1}], 2, 9) = 2`,
      `7 ftruncate(${on(3, 'a"b')}, 4) = 0`,
      `7 fallocate(${on(3, 'a"b')}, FALLOC_FL_KEEP_SIZE, 0, 8192) = 0`,
      `7 fdatasync(${on(3, 'a"b')}) = 0`,
      `7 mkdir(${path('d')}, 0777) = 0`,
      `7 rename(${path('a"b')}, ${path('c')}) = 0`,
      `7 fsync(${on(4, '')}) = 0`,
      `7 unlink(${path('c')}) = 0`,
    );
    const at = { path: 'a"b' };
    const bytes = (text: string) => new Uint8Array(Buffer.from(text));
    expect(ops).toEqual([
      { op: 'open', ...at, make: true, empty: true },
      { op: 'write', ...at, offset: 0, bytes: bytes('on') },
      { op: 'write', ...at, offset: 2, bytes: bytes('e') },
      { op: 'write', ...at, offset: 5, bytes: bytes('zz') },
      { op: 'write', ...at, offset: 9, bytes: bytes('pq') },
      { op: 'truncate', ...at, size: 4 },
      { op: 'sync', ...at },
      { op: 'mkdir', path: 'd' },
      { op: 'rename', ...at, to: 'c' },
      { op: 'sync', path: '' },
      { op: 'unlink', path: 'c' },
    ]);
  });

  it('joins calls that another thread interrupted, where they ended', () => {
    const ops = opsOf(
      `7 write(${on(3, 'a')}, "${hex('1')}", 1 <unfinished ...>`,
      `8 fsync(${on(4, 'b')}) = 0`,
      '7 <... write resumed>) = 1',
    );
    expect(ops.map(({ op }) => op)).toEqual(['sync', 'write']);
  });

  it('leaves out other files, what failed, and what went into a file without a name', () => {
    const ops = opsOf(
      `7 write(9<${hex('/elsewhere/a')}>, "${hex('1')}", 1) = 1`,
      `7 write(9<${hex('/state-2/a')}>, "${hex('1')}", 1) = 1`,
      `7 unlink(${path('a')}) = -1 ENOENT (No such file or directory)`,
      `7 write(${on(3, 'a')}(deleted), "${hex('1')}", 1) = 1`,
      `7 openat(AT_FDCWD<${hex('/work')}>, ${path('a')}, O_RDONLY|O_CLOEXEC) = ${on(3, 'a')}`,
      '7 +++ exited with 0 +++',
    );
    expect(ops).toEqual([]);
  });

  it('hears what the program said, between what it wrote', () => {
    const said = `7 write(1<${hex('pipe:[5]')}>, "${hex('{}\n')}", 3) = 3`;
    const child = said.replace('7 ', '8 ');
    expect(opsOf(`7 fsync(${on(3, 'a')}) = 0`, said, child).slice(1)).toEqual([{ op: 'told', text: '{}\n' }]);
  });

  it('refuses a call whose effect it does not know, and a log that holds too little', () => {
    expect(() => opsOf(`7 fallocate(${on(3, 'a')}, 0, 0, 8192) = 0`)).toThrow('does not know');
    expect(() => opsOf(`7 link(${path('a')}, ${path('b')}) = 0`)).toThrow('does not know');
    expect(() => opsOf(`7 pwrite64(${on(3, 'a')}, "${hex('1')}"..., 5, 0) = 5`)).toThrow('too few');
  });
});
