/** What this server shows devices, until when it holds, and what a person has to do about it. Reads, decides nothing. */
import type { TrustDocumentView, TrustView, TrustWarning } from '@skein/protocol/api.ts';
import {
  judgeExpiry,
  type Repo,
  TRUST_WARNINGS,
  type TrustWarningCode,
} from '@skein/protocol/trust/expiry.ts';
import { expiresAt, openDocument, type Root, readRoot } from '@skein/protocol/trust/metadata.ts';
import type { TopRole } from '@skein/protocol/trust/root-chain.ts';
import { publicKeys, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { SEVERITIES, type Severity } from '@skein/protocol/warnings.ts';
import { NAMED_ROLES, namedAt, type OnlineKeyring, signerNamed } from './online-keys.ts';
import { type Db, latestDocument } from './trust-documents.ts';

export interface TrustStatusDeps {
  db: Db;
  online: OnlineKeyring;
  keys: ReadKey;
  now: Millis;
}

const decoder = new TextDecoder();

/** Of documents that the server keeps; a device's own director document is signed whenever it is fetched. */
const KEPT: readonly [Repo, TopRole][] = [
  ['image', 'root'],
  ['image', 'targets'],
  ['image', 'snapshot'],
  ['image', 'timestamp'],
  ['director', 'root'],
];

export async function trustStatus({ db, online, keys, now }: TrustStatusDeps): Promise<TrustView> {
  const roots = {
    image: await storedRoot(db, 'image'),
    director: await storedRoot(db, 'director'),
  };
  const documents: TrustDocumentView[] = [];
  for (const [repo, role] of KEPT) {
    const root = roots[repo];
    const stored = root && (await latestDocument(db, repo, role));
    if (!root || !stored) continue;
    const holders = root.roles[role];
    const named = publicKeys(keys, root.keys, holders);
    const byServer = NAMED_ROLES.find((name) => namedAt(name).repo === repo && namedAt(name).role === role);
    documents.push({
      repo,
      role,
      version: stored.version,
      expiresAt: expiresAt(signedOf(stored.bytes)),
      threshold: holders.threshold,
      keys: [...named],
      heldHere: byServer !== undefined && signerNamed(online, byServer, root, keys) !== undefined,
    });
  }
  const missing = NAMED_ROLES.flatMap((name): TrustWarning[] => {
    const { repo, role } = namedAt(name);
    const root = roots[repo];
    if (!root || signerNamed(online, name, root, keys)) return [];
    const warning = warningOf('ONLINE_KEY_MISSING', 'critical', repo, role);
    return [{ ...warning, fix: warning.fix.replace('ROLE', name) }];
  });
  return { documents, warnings: worstFirst([...missing, ...documents.flatMap((d) => expiryOf(d, now))]) };
}

function expiryOf({ repo, role, expiresAt: at }: TrustDocumentView, now: Millis): TrustWarning[] {
  const judged = judgeExpiry(role, at, now);
  if (!judged) return [];
  const warning = warningOf(judged.code, judged.severity, repo, role);
  const when = `${at <= now ? 'Expired' : 'Expires'} ${new Date(at).toISOString().slice(0, 10)}`;
  const fix =
    repo === 'director' ? warning.fix.replace('root` (or director-root)', 'director-root`') : warning.fix;
  return [{ ...warning, text: `${warning.text} ${when}.`, fix }];
}

const warningOf = (code: TrustWarningCode, severity: Severity, repo: Repo, role: TopRole): TrustWarning => ({
  code,
  severity,
  repo,
  role,
  ...TRUST_WARNINGS[code],
});

const worstFirst = (warnings: TrustWarning[]): TrustWarning[] =>
  warnings.sort((a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity));

/** Verified when it was stored; what is none (a foreign database) is left out. */
async function storedRoot(db: Db, repo: Repo): Promise<Root | undefined> {
  const stored = await latestDocument(db, repo, 'root');
  try {
    return stored && readRoot(openDocument('root', stored.bytes, repo), repo);
  } catch {
    return undefined;
  }
}

/** Verified when it was stored; lists of models are long, so no more is read than is shown. */
const signedOf = (bytes: Uint8Array): { expires: string } =>
  (JSON.parse(decoder.decode(bytes)) as { signed: { expires: string } }).signed;
