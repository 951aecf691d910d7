/** Runs a program to its end, quietly; what it said comes back, or goes into the error. */
import { execFile } from 'node:child_process';
import { SkeinError } from '@skein/protocol/errors.ts';

export interface CommandOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Said when the program itself is missing. */
  fix?: string;
}

/** @returns standard output. @throws SkeinError INTERNAL with the program's last words */
export function command(file: string, args: string[], options: CommandOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const { cwd, env = process.env, fix } = options;
    execFile(file, args, { cwd, env, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const missing = error.code === ('ENOENT' as unknown);
      const words = missing ? 'is not installed' : `failed: ${(stderr || stdout || error.message).trim()}`;
      reject(
        new SkeinError('INTERNAL', `${file} ${words}`, { cause: error, ...(missing && fix ? { fix } : {}) }),
      );
    });
  });
}
