import { nativeVerify } from '@skein/agent/system-clock.ts';
import { MAX_ENVELOPE_BYTES, openEnvelope, sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import { describe, expect, it } from 'vitest';
import { hex, signerOf } from './simulated-repository.ts';

const signer = signerOf('server');
const keys = [hex(signerOf('other').publicKey), hex(signer.publicKey)];
const payload = new TextEncoder().encode('{"upTo":41}');
const sealed = sealEnvelope(signer, 'skein-ack-v1', 'd-one', payload);
const open = (domain: string, device: string, bytes: Uint8Array, known = keys) =>
  openEnvelope(nativeVerify, known, domain, device, bytes);
const code = (code: string) => expect.objectContaining({ code });

describe('envelope', () => {
  it('gives back the payload that one of the keys signed for this purpose and device', () => {
    expect(open('skein-ack-v1', 'd-one', sealed)).toEqual(payload);
  });

  it.each([
    ['another purpose', 'skein-command-v1', 'd-one'],
    ['another device', 'skein-ack-v1', 'd-two'],
    ['a boundary moved between purpose and device', 'skein-ack-v1d', '-one'],
  ])('refuses a message for %s', (_, domain, device) => {
    expect(() => open(domain, device, sealed)).toThrow(code('SIGNATURE_INVALID'));
  });

  it('refuses a key that is not among those named, and an empty list of keys', () => {
    expect(() => open('skein-ack-v1', 'd-one', sealed, [keys[0]!])).toThrow(code('SIGNATURE_INVALID'));
    expect(() => open('skein-ack-v1', 'd-one', sealed, [])).toThrow(code('SIGNATURE_INVALID'));
  });

  it('refuses every single flipped bit and every truncation', () => {
    for (let at = 0; at < sealed.length; at++) {
      const flipped = sealed.slice();
      flipped[at]! ^= 1;
      expect(() => open('skein-ack-v1', 'd-one', flipped), `byte ${at}`).toThrow();
      expect(() => open('skein-ack-v1', 'd-one', sealed.subarray(0, at)), `cut ${at}`).toThrow();
    }
  });

  it('measures before it reads', () => {
    expect(() => open('skein-ack-v1', 'd-one', new Uint8Array(MAX_ENVELOPE_BYTES + 1))).toThrow(
      code('MESSAGE_INVALID'),
    );
    expect(() => sealEnvelope(signer, 'x', 'y', new Uint8Array(MAX_ENVELOPE_BYTES))).toThrow(
      code('MESSAGE_INVALID'),
    );
  });
});
