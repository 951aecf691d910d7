/** `skein keys create|protect|list|export`: the key files of this folder. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Command } from 'commander';
import { OFFLINE_ROLES } from '../keys/roles.ts';
import type { CliContext } from './client.ts';
import { openKeyFolder, protectKey } from './key-files.ts';
import { listTrust } from './key-list.ts';
import {
  ceremonyIn,
  collect,
  type FolderOptions,
  folderOf,
  rolesOf,
  sourceOf,
  withFolder,
} from './keys-options.ts';
import { newPassphrase, processTerminal } from './passphrase.ts';
import { exportPublicKey, holderOf } from './public-keys.ts';

export function addFolderCommands(keys: Command, ctx: CliContext): void {
  withFolder(keys.command('create'))
    .description('Make a key in this folder; no root names it yet')
    .option('--role <role>', `${OFFLINE_ROLES.join(', ')}; may be given more than once`, collect, [])
    .requiredOption('--name <name>', 'whose it is: a to z, 0 to 9, dashes')
    .action(async (options: FolderOptions & { role: string[]; name: string }) => {
      const token = openKeyFolder(folderOf(ctx, options));
      const roles = rolesOf(options.role, OFFLINE_ROLES);
      const pin = await newPassphrase(sourceOf(options));
      const made = [];
      for (const role of roles) made.push(await token.generate(role, options.name, pin));
      ctx.print(
        made.map(({ name, role, publicKey }) => ({ name, role, publicKey })),
        {
          columns: [
            { title: 'KEY', value: (key) => key.name },
            { title: 'ROLE', value: (key) => key.role },
            { title: 'PUBLIC', value: (key) => key.publicKey },
          ],
        },
      );
      if (pin === undefined) process.stderr.write('No passphrase: whoever reads the file has the key.\n');
    });
  withFolder(keys.command('protect'))
    .description('Put key files under a passphrase, or under another one')
    .argument('[key...]', 'names as `skein keys list` shows them; default: all of the folder')
    .option('--new-passphrase-file <file>', 'its first line; else asked for')
    .action(async (names: string[], options: FolderOptions & { newPassphraseFile?: string }) => {
      const { dir, token, ask } = ceremonyIn(ctx, options);
      const chosen = names.length > 0 ? names : token.find().map(({ name }) => name);
      const old = new Map<string, string | undefined>();
      for (const key of token.find())
        if (chosen.includes(key.name)) old.set(key.name, key.needsPin ? await ask(key) : undefined);
      const source = { file: options.newPassphraseFile, terminal: processTerminal() };
      const passphrase = await newPassphrase(source);
      const rows = chosen.map((name) => protectKey(dir, name, old.get(name), passphrase));
      ctx.print(
        rows.map(({ name, sealed }) => ({ name, sealed })),
        {
          columns: [
            { title: 'KEY', value: (key) => key.name },
            { title: 'PASSPHRASE', value: (key) => (key.sealed ? 'yes' : 'no') },
          ],
        },
      );
    });
  withFolder(keys.command('list'))
    .description('Key files here, who the roots name, and until when everything holds')
    .option('--offline', 'ask no server')
    .action(async (options: FolderOptions & { offline?: boolean }) =>
      listTrust(ctx, folderOf(ctx, options), options.offline === true),
    );
  withFolder(keys.command('export'))
    .description('Write public halves for whoever prepares a root')
    .argument('[key...]', 'names as `skein keys list` shows them, such as root-alice.json')
    .option('-a, --all', 'every key of the folder')
    .option('--to <folder>', 'where <role>-<name>.pub.json goes', '.')
    .action(async (names: string[], options: FolderOptions & { all?: boolean; to: string }) => {
      const { token, ask } = ceremonyIn(ctx, options);
      const chosen = token.find().filter(({ name }) => options.all || names.includes(name));
      if (chosen.length < Math.max(1, names.length)) {
        throw new SkeinError(
          'NOT_FOUND',
          `${token.label} holds ${chosen.length} of the keys that were named`,
          {
            fix: 'See `skein keys list --offline`; give names, or -a for all.',
          },
        );
      }
      const files = [];
      for (const key of chosen) {
        const path = join(options.to, `${key.role}-${holderOf(key)}.pub.json`);
        writeFileSync(path, `${JSON.stringify(await exportPublicKey(token, key, ask), null, 2)}\n`);
        files.push({ file: path, publicKey: key.publicKey });
      }
      ctx.print(files, {
        columns: [
          { title: 'FILE', value: (row) => row.file },
          { title: 'PUBLIC', value: (row) => row.publicKey },
        ],
      });
    });
}
