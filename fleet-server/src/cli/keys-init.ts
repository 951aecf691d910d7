/** `skein keys init`: the first roots, of keys made here or of keys that holders exported. */
import type { Command } from 'commander';
import { nativeVerify, systemClock } from '../system-clock.ts';
import { conclude } from './ceremony.ts';
import type { CliContext } from './client.ts';
import { firstRoots } from './first-roots.ts';
import { initKeys } from './init-keys.ts';
import { openKeyFolder } from './key-files.ts';
import {
  askerOf,
  ceremonyIn,
  collect,
  type FolderOptions,
  folderOf,
  sourceOf,
  thresholdOf,
  withFolder,
} from './keys-options.ts';
import { newPassphrase } from './passphrase.ts';
import { readPins } from './pins.ts';
import { readPublicKey } from './public-keys.ts';
import { showOutcome } from './signing-words.ts';

export function addInit(keys: Command, ctx: CliContext): void {
  withFolder(keys.command('init'))
    .description('Make root and publisher keys here, sign both roots and upload them')
    .option(
      '--key <file>',
      'a holder’s public key (skein keys export); no key is made here then',
      collect,
      [],
    )
    .option('--threshold <n>', 'holders that must sign a root; default: more than half (with --key)')
    .option('--out <file>', 'where the unsigned roots go (with --key)', 'first-roots.draft.json')
    .option(
      '--replace',
      'begin anew: every device has to enrol again (see skein keys recover root-threshold)',
    )
    .addHelpText(
      'after',
      '\nA passphrase protects the files. Keep copies of the root keys off this machine.\n',
    )
    .action(async (options: FolderOptions & InitOptions) => {
      if (options.key.length > 0) return prepareFirst(ctx, options);
      const dir = folderOf(ctx, options);
      const source = sourceOf(options);
      const known = openKeyFolder(dir).find();
      const sealed = known.find(({ needsPin }) => needsPin);
      const fresh = known.length === 0 ? await newPassphrase(source) : undefined;
      const asked = sealed ? await askerOf(options)(sealed) : fresh;
      const outcome = await initKeys({
        api: await ctx.api(),
        dir,
        passphrase: asked,
        clock: systemClock,
        verify: nativeVerify,
        replace: options.replace === true,
      });
      if (ctx.output === 'json') return ctx.print({ changed: outcome.changed, dir, keys: outcome.keys });
      ctx.print(
        outcome.keys.map(({ name, role, publicKey, sealed }) => ({ name, role, publicKey, sealed })),
        {
          columns: [
            { title: 'KEY', value: (key) => key.name },
            { title: 'ROLE', value: (key) => key.role },
            { title: 'PUBLIC', value: (key) => key.publicKey },
            { title: 'PASSPHRASE', value: (key) => (key.sealed ? 'yes' : 'no') },
          ],
        },
      );
      const said = outcome.changed
        ? 'Both roots are signed and uploaded'
        : 'The server has these roots already';
      process.stderr.write(`${said}. Keys: ${dir}\n`);
    });
}

interface InitOptions {
  key: string[];
  threshold?: string;
  out: string;
  replace?: boolean;
}

async function prepareFirst(ctx: CliContext, options: FolderOptions & InitOptions): Promise<void> {
  const api = await ctx.api();
  const parts = firstRoots({
    keys: options.key.map((path) => readPublicKey(path, nativeVerify)),
    threshold: thresholdOf(options.threshold),
    online: await api.call('onlineKeys'),
    now: systemClock.now(),
    targets: options.replace ? readPins(folderOf(ctx, options)).targets : undefined,
  });
  showOutcome(ctx, await conclude(ceremonyIn(ctx, options), api, parts, options.out, true));
}
