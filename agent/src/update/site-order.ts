/**
 * Which peers are asked for a blob, and in which order: by the highest hash of peer and blob together (rendezvous hashing),
 * so every device of a site names the same peer first, and blobs spread over the peers. Those behind oneself are not asked:
 * whoever comes first in the order goes up for the others.
 */
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { BlobSource } from './ports.ts';

const encoder = new TextEncoder();

export function siteOrder(
  peers: readonly BlobSource[],
  self: string | undefined,
  sha256: Sha256Hex,
): BlobSource[] {
  const ranked = [...peers.map(({ name }) => name), ...(self === undefined ? [] : [self])]
    .map((name) => ({ name, rank: sha256Hex(encoder.encode(`${name} ${sha256}`)) }))
    .sort((a, b) => (a.rank < b.rank ? 1 : -1));
  const own = ranked.findIndex(({ name }) => name === self);
  const asked = own < 0 ? ranked : ranked.slice(0, own);
  return asked.flatMap(({ name }) => peers.filter((peer) => peer.name === name));
}
