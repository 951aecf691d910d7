/**
 * Encryption was switched on, or off, over a model store that holds something: at the next start each blob is written anew as
 * it is wanted now, in the way in which a download is: part, fsync, rename, fsync of the folder. A kill leaves the old one.
 * It takes the room of one blob. Parts of downloads that lie otherwise than wanted are begun anew.
 */
import { createHash } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from '../disk-whole.ts';
import { BlobFile } from './disk-blob.ts';
import type { BlobCipher } from './node-blob-cipher.ts';

const WHOLE = /^[0-9a-f]{64}$/;
const PART = /^[0-9a-f]{64}\.part$/;

/** @throws what the file system throws (a full disk: what was not reached lies as before), SkeinError DATA_KEY_WRONG */
export async function rewriteBlobs(directory: string, cipher: BlobCipher): Promise<void> {
  const names = (await readdir(directory)).filter((name) => WHOLE.test(name) || PART.test(name));
  // All are looked at first: of a store with another key nothing is touched.
  const otherwise: string[] = [];
  for (const name of names)
    if ((await isEncrypted(join(directory, name), cipher)) !== cipher.encrypts) otherwise.push(name);
  for (const name of otherwise.filter((each) => PART.test(each)))
    await rm(join(directory, name), { force: true });
  for (const name of otherwise.filter((each) => WHOLE.test(each))) await rewrite(directory, name, cipher);
}

async function isEncrypted(path: string, cipher: BlobCipher): Promise<boolean> {
  const file = await BlobFile.open(path, 'r', cipher);
  await file.close();
  return file.encrypted;
}

async function rewrite(directory: string, sha256: string, cipher: BlobCipher): Promise<void> {
  const [path, part] = [join(directory, sha256), join(directory, `${sha256}.part`)];
  const hash = createHash('sha256');
  const from = await BlobFile.open(path, 'r', cipher);
  try {
    const to = await BlobFile.open(part, 'w', cipher);
    try {
      let at = 0;
      for await (const chunk of from.chunks()) {
        hash.update(chunk);
        await to.write(at, chunk);
        at += chunk.length;
      }
      await to.sync();
    } finally {
      await to.close();
    }
  } catch (thrown) {
    await rm(part, { force: true });
    throw thrown;
  } finally {
    await from.close();
  }
  // Damaged before: it is fetched again, as whenever that is noticed.
  if (hash.digest('hex') !== sha256) await Promise.all([path, part].map((each) => rm(each, { force: true })));
  else await rename(part, path);
  syncFolder(directory);
}
