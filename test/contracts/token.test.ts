import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKeyFolder } from '@skein/fleet-server/cli/key-files.ts';
import { type OfflineRole, requireName } from '@skein/fleet-server/keys/roles.ts';
import type { AskPin, KeyInfo, Token } from '@skein/fleet-server/keys/token.ts';
import { nativeSigner } from '@skein/fleet-server/system-clock.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { afterAll } from 'vitest';
import { tokenContract } from './token.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-token-'));
afterAll(() => rmSync(folder, { recursive: true }));
let places = 0;

/** As hardware behaves, which can not be had here: keys are inside, a PIN opens one for one signature. */
class Card implements Token {
  readonly label = 'card in reader 0';
  readonly #objects: { info: KeyInfo; pin: string | undefined; signer: Signer }[] = [];

  find() {
    return this.#objects.map(({ info }) => info);
  }

  async generate(role: OfflineRole, name: string, pin: string | undefined) {
    const label = `${role}-${requireName(name)}`;
    if (this.find().some((known) => known.name === label))
      throw new SkeinError('CONFLICT', `${label} is taken`);
    const signer = nativeSigner(new Uint8Array(randomBytes(32)));
    const publicKey = Buffer.from(signer.publicKey).toString('hex');
    const info = { name: label, role, publicKey, needsPin: pin !== undefined };
    this.#objects.push({ info, pin, signer });
    return info;
  }

  async sign({ publicKey }: KeyInfo, message: Uint8Array, ask: AskPin) {
    const object = this.#objects.find(({ info }) => info.publicKey === publicKey)!;
    const pin = object.info.needsPin ? await ask(object.info) : undefined;
    if (object.info.needsPin && pin === undefined)
      throw new SkeinError('PASSPHRASE_NEEDED', 'CKR_USER_NOT_LOGGED_IN');
    if (pin !== object.pin) throw new SkeinError('PASSPHRASE_WRONG', 'CKR_PIN_INCORRECT');
    return object.signer.sign(message);
  }
}

tokenContract('a card', () => {
  const card = new Card();
  return { open: () => card };
});

tokenContract('a folder of key files', () => {
  const path = join(folder, String(places++));
  return { open: () => openKeyFolder(path) };
});
