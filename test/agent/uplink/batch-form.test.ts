import { READS_DOMAIN } from '@skein/protocol/messages.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import { describe, expect, it } from 'vitest';
import { FormChoice } from '../../../agent/src/uplink/batch-form.ts';
import { testSigner, testVerify } from '../../protocol/batch/random.ts';
import { zstd } from '../../protocol/batch/zstd.ts';

const server = testSigner('server');
const hex = Buffer.from(server.publicKey).toString('hex');
const said = (message: object, signer = server, device = 'd-1') =>
  sealEnvelope(signer, READS_DOMAIN, device, new TextEncoder().encode(JSON.stringify(message)));

function choice(more: Partial<{ json: boolean; keys: () => string[] }> = {}): FormChoice {
  const { json = false, keys = () => [hex] } = more;
  return new FormChoice({ device: 'd-1', json, verify: testVerify, ackKeys: keys, zstd });
}

describe('the form of the next batch', () => {
  it('is the oldest until the server said, signed, that it reads another', () => {
    const one = choice();
    expect(one.form()).toEqual({ encoding: 'columns' });
    one.hear(said({ forms: ['SKB1'] }));
    expect(one.form()).toEqual({ encoding: 'columns' });
    one.hear(said({ forms: ['SKB1', 'SKB2'] }));
    expect(one.form()).toEqual({ encoding: 'compact' });
    one.hear(said({ forms: ['SKB1', 'SKB2', 'SKB9'], zstd: 1, more: 'than we know' }));
    expect(one.form()).toEqual({ encoding: 'compact', zstd });
  });

  it('does not believe a broker, another device’s message or rubbish, and keeps what it knew', () => {
    const one = choice();
    const forms = { forms: ['SKB1', 'SKB2'] };
    for (const bytes of [said(forms, testSigner('broker')), said(forms, server, 'd-2'), Uint8Array.of(1)]) {
      one.hear(bytes);
      expect(one.form()).toEqual({ encoding: 'columns' });
    }
    one.hear(said(forms));
    one.form();
    one.hear(said({ forms: ['SKB1'] }, testSigner('broker')));
    expect(one.form()).toEqual({ encoding: 'compact' });
  });

  it('believes what came before the keys were known, once they are', () => {
    const keys: string[] = [];
    const one = choice({ keys: () => keys });
    one.hear(said({ forms: ['SKB1', 'SKB2'] }));
    expect(one.form()).toEqual({ encoding: 'columns' });
    keys.push(hex);
    expect(one.form()).toEqual({ encoding: 'compact' });
  });

  it('comes with a nonce once the server answers to one, and never in JSON', () => {
    const forms = { forms: ['SKB1', 'SKB2', 'SKN1'] };
    const [one, readable] = [choice(), choice({ json: true })];
    expect(one.takesNonces()).toBe(false);
    for (const each of [one, readable]) each.hear(said(forms));
    expect(one.takesNonces()).toBe(true);
    expect(readable.takesNonces()).toBe(false);
    one.hear(said({ forms: ['SKB1', 'SKB2'] }));
    expect(one.takesNonces()).toBe(false);
  });

  it('is JSON where people asked for it, whatever the server reads', () => {
    const one = choice({ json: true });
    one.hear(said({ forms: ['SKB1', 'SKB2'] }));
    expect(one.form()).toEqual({ encoding: 'json' });
  });

  it('tells once of each start of the server, also of one heard before the keys were known', () => {
    const keys: string[] = [];
    const one = choice({ json: true, keys: () => keys });
    const began = (start: string, signer = server): boolean => {
      one.hear(said({ forms: ['SKB1'], start }, signer));
      return one.serverBegan();
    };
    expect(began('a')).toBe(false);
    keys.push(hex);
    expect(one.form()).toEqual({ encoding: 'json' });
    expect(one.serverBegan()).toBe(true);
    expect(began('a')).toBe(false);
    expect(began('c', testSigner('broker'))).toBe(false);
    expect(began('b')).toBe(true);
    expect(one.serverBegan()).toBe(false);
  });
});
