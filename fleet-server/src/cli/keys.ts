/**
 * `skein keys`: the operator's offline keys. Every change of a root is a draft that the keys of this folder sign; when
 * others have to sign too it travels as a file: `skein keys sign` on each machine, `skein keys publish` at the end.
 */
import type { Command } from 'commander';
import type { CliContext } from './client.ts';
import { addChanges } from './keys-change.ts';
import { addDraftCommands } from './keys-draft.ts';
import { addFolderCommands } from './keys-folder.ts';
import { addInit } from './keys-init.ts';
import { guideOf, RECOVERIES } from './recovery-guide.ts';

export function addKeysCommands(keys: Command, ctx: CliContext): void {
  keys.addHelpText('after', EXAMPLES);
  addInit(keys, ctx);
  addFolderCommands(keys, ctx);
  addChanges(keys, ctx);
  addDraftCommands(keys, ctx);
  keys
    .command('recover')
    .description('What to do when a key is lost or stolen')
    .argument('[key]', `one of: ${RECOVERIES.map(({ key }) => key).join(', ')}`)
    .action((key?: string) => void process.stdout.write(guideOf(key)));
}

const EXAMPLES = `
One person, one machine (what \`npm start\` does):
  skein keys init

Three people, each with a key that never leaves their machine:
  skein keys create --role root --role director-root --name alice    # each of them, also bob and carol
  skein keys export -a                                               # root-alice.pub.json, … to the operator
  skein keys init --key root-alice.pub.json --key root-bob.pub.json … --out first.draft.json
  skein keys sign first.draft.json                                   # two of them, one after the other or apart
  skein keys publish first.draft.json                                # at the operator; copies may be given together

Later:
  skein keys list                                  # who may sign, and until when everything holds
  skein keys renew                                 # the same keys, another two years (targets: one)
  skein keys rotate --role targets                 # a new publisher’s key made here
  skein keys rotate --role timestamp               # a new online key made by the server
  skein keys rotate --role root --old carol --new root-dave.pub.json
  skein keys recover                               # a key was lost or stolen: what now
`;
