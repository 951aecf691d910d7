/**
 * Which patches make a blob, as a server lists them: `GET /v1/deltas/<sha256 of the new blob>`. Nothing in the list is
 * believed: a patch's bytes are a blob like any other, and what they make is held against the signed hash.
 */
import { type Static, Type } from 'typebox';
import { checker, strict } from '../schema.ts';
import { type Bytes, KIB } from '../units.ts';
import { MAX_SIZE } from './format.ts';

export const MAX_OFFERS = 16;
export const MAX_OFFERS_BYTES: Bytes = 8 * KIB;

export const DeltaOffer = strict({
  from: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of the old blob' }),
  patch: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of the patch, which is a blob too' }),
  sizeBytes: Type.Integer({ minimum: 1, maximum: MAX_SIZE, description: 'Of the patch' }),
});

export const DeltaOffers = strict({
  offers: Type.Array(DeltaOffer, { maxItems: MAX_OFFERS, description: 'The smallest first' }),
});
export type DeltaOffer = Static<typeof DeltaOffer>;
export type DeltaOffers = Static<typeof DeltaOffers>;

export const parseDeltaOffers = checker(DeltaOffers, 'MESSAGE_INVALID', MAX_OFFERS_BYTES);
