/** `skein keys list`: keys of this folder beside those that the roots name, and until when everything holds. */
import type { TrustView } from '@skein/protocol/api.ts';
import { asSkeinError } from '@skein/protocol/errors.ts';
import { judgeExpiry, TRUST_WARNINGS } from '@skein/protocol/trust/expiry.ts';
import { expiresAt, type Root } from '@skein/protocol/trust/metadata.ts';
import type { TopRole } from '@skein/protocol/trust/root-chain.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Pins } from '../keys/review.ts';
import { KEY_ROLES, type KeyRole, placeOf } from '../keys/roles.ts';
import { holdersIn, holdersOf } from '../keys/root-plan.ts';
import { nativeVerify, systemClock } from '../system-clock.ts';
import type { CliContext } from './client.ts';
import { listKeys, type OfflineKey } from './key-files.ts';
import { readPin, readPins } from './pins.ts';
import { type Column, column } from './table.ts';
import { fetchTrusted } from './trusted.ts';

interface KeyRow {
  /** File here, or the holder's name; null: only the root knows it. */
  name: string | null;
  role: KeyRole;
  publicKey: string;
  here: boolean;
  sealed: boolean | null;
  /** `2 of 3`; null: no root names it. */
  needed: string | null;
}
interface DocumentRow {
  document: string;
  version: number;
  expiresAt: Millis;
  state: string;
}

const COLUMNS: readonly Column<KeyRow>[] = [
  column('KEY', (key) => key.name ?? '–'),
  column('ROLE', (key) => key.role),
  column('PUBLIC', (key) => key.publicKey.slice(0, 16)),
  column('HERE', (key) => (key.here ? 'yes' : 'no')),
  column('PASSPHRASE', (key) => (key.sealed === null ? '–' : key.sealed ? 'yes' : 'no')),
  column('MUST SIGN', (key) => key.needed ?? 'no root names it'),
];
const DOCUMENT_COLUMNS: readonly Column<DocumentRow>[] = [
  column('DOCUMENT', (row) => row.document),
  column('VERSION', (row) => row.version, 'right'),
  column('EXPIRES', (row) => new Date(row.expiresAt).toISOString().slice(0, 10)),
  column('DAYS', (row) => Math.floor((row.expiresAt - systemClock.now()) / 86_400_000), 'right'),
  column('STATE', (row) => row.state),
];

/** @throws SkeinError KEYS_INVALID, METADATA_INVALID for damaged files; a server that is away is only mentioned */
export async function listTrust(ctx: CliContext, dir: string, offline: boolean): Promise<void> {
  const view = offline ? undefined : await viewOf(ctx, dir);
  const pins = readPins(dir);
  const keys = rowsOf(listKeys(dir), pins);
  const documents = view ? fromServer(view) : fromPins(pins, systemClock.now());
  if (ctx.output === 'json') return ctx.print({ dir, keys, documents, warnings: view?.warnings ?? [] });
  ctx.print(keys, { columns: COLUMNS });
  if (documents.length > 0) {
    process.stdout.write('\n');
    ctx.print(documents, { columns: DOCUMENT_COLUMNS });
  }
  for (const { severity, text, fix } of view?.warnings ?? [])
    process.stderr.write(`${severity}: ${text}\n  → ${fix}\n`);
}

/** What the server says of itself; the pins follow it first, so that a root nobody here vouches for is found out. */
async function viewOf(ctx: CliContext, dir: string): Promise<TrustView | undefined> {
  try {
    const api = await ctx.api();
    if (readPin(dir, 'image-root')) await fetchTrusted({ api, dir, verify: nativeVerify });
    return await api.call('trust');
  } catch (thrown) {
    const { code, message } = asSkeinError(thrown);
    process.stderr.write(
      `The server is not asked (${code}: ${message}); what follows is from this folder.\n`,
    );
    return undefined;
  }
}

function rowsOf(files: readonly OfflineKey[], { image, director }: Pins): KeyRow[] {
  const own = files.map(({ name, role, publicKey, sealed }): KeyRow => {
    const root = placeOf(role).repo === 'image' ? image : director;
    return {
      name,
      role,
      publicKey,
      here: true,
      sealed,
      needed: root ? neededIn(root, role, publicKey) : null,
    };
  });
  const known = new Set(own.map(({ role, publicKey }) => `${role} ${publicKey}`));
  const others = KEY_ROLES.flatMap((role) => {
    const root = placeOf(role).repo === 'image' ? image : director;
    return root ? namedIn(root, role).filter((row) => !known.has(`${role} ${row.publicKey}`)) : [];
  });
  return [...own, ...others];
}

const namedIn = (root: Root, role: KeyRole): KeyRow[] =>
  holdersIn(root, role).keyids.map((id) => ({
    name: holdersOf(root)[id] ?? null,
    role,
    publicKey: root.keys[id]?.keyval.public ?? id,
    here: false,
    sealed: null,
    needed: `${holdersIn(root, role).threshold} of ${holdersIn(root, role).keyids.length}`,
  }));

const neededIn = (root: Root, role: KeyRole, publicKey: string): string | null =>
  namedIn(root, role).find((row) => row.publicKey === publicKey)?.needed ?? null;

const fromServer = ({ documents, warnings }: TrustView): DocumentRow[] =>
  documents.map(({ repo, role, version, expiresAt: at }) => {
    const worst = warnings.find((w) => w.repo === repo && w.role === role);
    return {
      document: `${repo} ${role}`,
      version,
      expiresAt: at,
      state: worst ? `${worst.severity}: ${worst.code}` : 'ok',
    };
  });

function fromPins({ image, director, targets }: Pins, now: Millis): DocumentRow[] {
  const row = (document: string, role: TopRole, signed: { version: number; expires: string } | undefined) => {
    if (!signed) return [];
    const at = expiresAt(signed);
    const judged = judgeExpiry(role, at, now);
    const state = judged ? `${judged.severity}: ${TRUST_WARNINGS[judged.code].text}` : 'ok';
    return [{ document, version: signed.version, expiresAt: at, state }];
  };
  return [
    ...row('image root', 'root', image),
    ...row('image targets', 'targets', targets),
    ...row('director root', 'root', director),
  ];
}
