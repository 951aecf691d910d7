/** What every place of keys has to do, files or hardware. */
import type { Token } from '@skein/fleet-server/keys/token.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { describe, expect, it } from 'vitest';

export interface TokenUnderTest {
  /** The same keys, as another process finds them. */
  open(): Token;
}

export function tokenContract(name: string, make: () => TokenUnderTest): void {
  const message = new TextEncoder().encode('to be signed');
  const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));

  describe(`${name} as a token`, () => {
    it('makes a key that another process finds and signs with, and shows its public half without a PIN', async () => {
      const place = make();
      const made = await place.open().generate('root', 'alice', 'open sesame');
      expect(made).toMatchObject({ role: 'root', needsPin: true });
      const [found] = place.open().find();
      expect(found).toMatchObject({ name: made.name, publicKey: made.publicKey });
      const signature = await place.open().sign(found!, message, async () => 'open sesame');
      expect(nativeVerify(bytes(made.publicKey), message, signature)).toBe(true);
    });

    it('signs nothing without the PIN or with another', async () => {
      const place = make();
      const key = await place.open().generate('targets', 'pat', 'open sesame');
      const sign = (pin: string | undefined) => place.open().sign(key, message, async () => pin);
      await expect(sign(undefined)).rejects.toMatchObject({ code: 'PASSPHRASE_NEEDED' });
      await expect(sign('open barley')).rejects.toMatchObject({ code: 'PASSPHRASE_WRONG' });
    });

    it('never makes a second key under one name, and takes only names that can not be mistaken', async () => {
      const token = make().open();
      await token.generate('root', 'alice', undefined);
      await expect(token.generate('root', 'alice', undefined)).rejects.toMatchObject({ code: 'CONFLICT' });
      await expect(token.generate('root', 'аlice', undefined)).rejects.toMatchObject({
        code: 'NAME_INVALID',
      });
      expect(token.find()).toHaveLength(1);
    });

    it('asks for no PIN where none was set', async () => {
      const token = make().open();
      const key = await token.generate('root', 'bob', undefined);
      const ask = () => Promise.reject(new Error('asked'));
      expect(nativeVerify(bytes(key.publicKey), message, await token.sign(key, message, ask))).toBe(true);
    });
  });
}
