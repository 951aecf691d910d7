import { createHash, randomBytes } from 'node:crypto';
import { nativeSigner, nativeVerify } from '@skein/agent/system-clock.ts';
import { tweetnaclSigner, tweetnaclVerify } from '@skein/protocol/trust/ed25519.ts';
import { describe, expect, it } from 'vitest';
import wycheproof from '../../golden/ed25519-wycheproof.json' with { type: 'json' };

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const P = 2n ** 255n - 19n;

const little = (value: bigint) =>
  bytes(Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse().toString('hex'));
const big = (value: Uint8Array) => BigInt(`0x${Buffer.from(value).reverse().toString('hex')}`);
const join = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

/** y of all eight points whose order divides 8. */
const SMALL_ORDER = [
  little(0n),
  little(1n),
  little(P - 1n),
  bytes('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'),
  bytes('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'),
];
const ROUNDS = process.env.SKEIN_LONG === '1' ? 100_000 : 1_000;

const implementations = [
  ['tweetnacl', tweetnaclVerify],
  ['node:crypto', nativeVerify],
] as const;

/** RFC 8032, section 7.1. */
const vectors = [
  {
    seed: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    key: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    seed: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    key: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    message: '72',
    signature:
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  },
];

describe.each(implementations)('strict Ed25519 over %s', (_, verify) => {
  it.each(vectors)('accepts RFC 8032 vector %#', ({ key, message, signature }) => {
    expect(verify(bytes(key), bytes(message), bytes(signature))).toBe(true);
    expect(verify(bytes(key), bytes(`${message}00`), bytes(signature))).toBe(false);
  });

  it('leaves the bytes it looks at alone, also when they are Buffers over a received message', () => {
    for (let i = 0; i < 16; i++) {
      const signer = tweetnaclSigner(randomBytes(32));
      const message = Buffer.concat([Buffer.from(signer.sign(Uint8Array.of(i))), Buffer.of(i)]);
      const before = Buffer.from(message).toString('hex');
      const [signature, rest] = [message.subarray(0, 64), message.subarray(64)];
      expect(verify(Buffer.from(signer.publicKey), rest, signature)).toBe(true);
      expect(message.toString('hex')).toBe(before);
    }
  });

  it('refuses S + L, the malleable twin of a good signature', () => {
    const { key, message, signature } = vectors[1]!;
    const good = bytes(signature);
    const twin = join(good.subarray(0, 32), little(big(good.subarray(32)) + L));
    expect(verify(bytes(key), bytes(message), twin)).toBe(false);
  });

  it('refuses keys of small order, under which one signature fits every message', () => {
    const small = [0n, 1n, P - 1n].map(little);
    const orderEight = bytes('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05');
    for (const key of [...small, orderEight]) {
      const signature = join(little(1n), little(0n));
      expect(verify(key, bytes('01'), signature)).toBe(false);
      const signBit = key.slice();
      signBit[31]! |= 0x80;
      expect(verify(signBit, bytes('01'), signature)).toBe(false);
    }
  });

  it('refuses y ≥ p in the key and in R', () => {
    const { key, message, signature } = vectors[0]!;
    const notCanonical = little(P + 1n);
    expect(verify(notCanonical, bytes(message), bytes(signature))).toBe(false);
    expect(verify(bytes(key), bytes(message), join(notCanonical, bytes(signature).subarray(32)))).toBe(false);
  });

  it('answers no, and does not throw, to keys and signatures of the wrong length', () => {
    const { key, message, signature } = vectors[0]!;
    for (const cut of [0, 1, 31, 33]) {
      expect(verify(new Uint8Array(cut), bytes(message), bytes(signature))).toBe(false);
    }
    for (const cut of [0, 32, 63, 65]) {
      expect(verify(bytes(key), bytes(message), new Uint8Array(cut))).toBe(false);
    }
  });
});

describe('the two implementations', () => {
  it.each(vectors)('sign alike (vector %#)', ({ seed, key, message, signature }) => {
    for (const signer of [tweetnaclSigner(bytes(seed)), nativeSigner(bytes(seed))]) {
      expect(Buffer.from(signer.publicKey).toString('hex')).toBe(key);
      expect(Buffer.from(signer.sign(bytes(message))).toString('hex')).toBe(signature);
    }
  });

  it.each(wycheproof.groups.flatMap(({ key, tests }) => tests.map((test) => ({ key, ...test }))))(
    'agree with Wycheproof on $id $comment',
    ({ key, message, signature, valid }) => {
      for (const [name, verify] of implementations)
        expect(verify(bytes(key), bytes(message), bytes(signature)), name).toBe(valid);
    },
  );

  it('are held against all of Wycheproof’s 151 vectors', () => {
    expect(wycheproof.groups.flatMap(({ tests }) => tests)).toHaveLength(151);
  });

  it(`give the same verdict on ${ROUNDS} signatures, keys and messages, most of them mutated`, () => {
    const seed = process.env.SKEIN_SEED ?? randomBytes(8).toString('hex');
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const parts = mutated(round, (label) =>
        createHash('sha256').update(`${seed} ${round} ${label}`).digest(),
      );
      const verdicts = implementations.map(([, verify]) => verify(parts.key, parts.message, parts.signature));
      expect(verdicts[0], `SKEIN_SEED=${seed} round ${round}`).toBe(verdicts[1]);
      if (verdicts[0]) accepted++;
    }
    // Those that nothing was done to.
    expect(accepted, `SKEIN_SEED=${seed}`).toBeGreaterThanOrEqual(Math.floor(ROUNDS / MUTATIONS.length));
    expect(accepted, `SKEIN_SEED=${seed}`).toBeLessThan(ROUNDS / 2);
  }, 36_000_000);
});

interface Signed {
  key: Uint8Array;
  message: Uint8Array;
  signature: Uint8Array;
}

const flip = (bytes: Uint8Array, dice: Buffer) => {
  bytes[dice[0]! % bytes.length]! ^= 1 << (dice[1]! % 8);
};

/** Where implementations are known to part: malleable S, points that are not canonical or of small order, sign bits. */
const MUTATIONS: ((signed: Signed, dice: Buffer) => void)[] = [
  () => {},
  ({ key }, dice) => flip(key, dice),
  ({ message }, dice) => flip(message, dice),
  ({ signature }, dice) => flip(signature, dice),
  ({ signature }) => signature.set(little(big(signature.subarray(32)) + L), 32),
  ({ signature }, dice) => signature.set(little(L + BigInt(dice[0]!)), 32),
  ({ signature }, dice) => signature.set(little(P + BigInt(dice[0]! % 19)), 0),
  ({ key }, dice) => key.set(little(P + BigInt(dice[0]! % 19))),
  ({ signature }, dice) => signature.set(SMALL_ORDER[dice[0]! % SMALL_ORDER.length]!, 0),
  ({ key }, dice) => key.set(SMALL_ORDER[dice[0]! % SMALL_ORDER.length]!),
  ({ signature }) => {
    signature[31]! ^= 0x80;
  },
  ({ key, signature }) => {
    key[31]! ^= 0x80;
    signature[31]! ^= 0x80;
  },
  ({ signature }) => signature.fill(0, 32),
  ({ signature }) => signature.copyWithin(0, 32),
];

/** Every way in turn. */
function mutated(round: number, random: (label: string) => Buffer): Signed {
  const signer = nativeSigner(new Uint8Array(random('seed')));
  const message = new Uint8Array(random('message'));
  const signed = { key: signer.publicKey.slice(), message, signature: signer.sign(message).slice() };
  MUTATIONS[round % MUTATIONS.length]!(signed, random('dice'));
  return signed;
}
