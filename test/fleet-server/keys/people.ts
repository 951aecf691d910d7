/** Holders of keys, each with a machine (a folder) of their own, and the operator who reaches the server. */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import {
  type Ceremony,
  conclude,
  publish,
  readDrafts,
  signDraft,
  writeDraft,
} from '@skein/fleet-server/cli/ceremony.ts';
import { prepareRoots, type RootChange, stagedOnlineKeys } from '@skein/fleet-server/cli/change-roots.ts';
import { firstRoots } from '@skein/fleet-server/cli/first-roots.ts';
import { openKeyFolder } from '@skein/fleet-server/cli/key-files.ts';
import { exportPublicKey, type PublicKeyFile, readPublicKey } from '@skein/fleet-server/cli/public-keys.ts';
import { publishBundle, revokeModel } from '@skein/fleet-server/cli/publish-bundle.ts';
import type { OfflineRole } from '@skein/fleet-server/keys/roles.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import type { OnlineRole } from '@skein/protocol/api.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { MemoryTrustStore } from '../../protocol/trust/memory-trust-store.ts';
import { DEVICE, orderOf } from '../../protocol/trust/simulated-repository.ts';
import type { Desk } from '../models/desk.ts';
import { smallModel, writeSmallModel } from '../models/small-model.ts';

export const reader = ed25519Keys(nativeVerify);

export class People {
  readonly desk: Desk;
  #drafts = 0;

  constructor(desk: Desk) {
    this.desk = desk;
  }

  folder(name: string): string {
    return join(this.desk.folder, `machine-of-${name}`);
  }

  machine(name: string): Ceremony {
    const dir = this.folder(name);
    const ask = async () => undefined;
    return { dir, token: openKeyFolder(dir), ask, verify: nativeVerify, clock: this.desk.clock };
  }

  /** A new key on its holder's machine, and its public half as a file. */
  async key(holder: string, role: OfflineRole): Promise<PublicKeyFile> {
    const { token, ask } = this.machine(holder);
    const made = await token.generate(role, holder, undefined);
    const path = join(this.desk.folder, `${role}-${holder}.pub.json`);
    writeFileSync(path, JSON.stringify(await exportPublicKey(token, made, ask)));
    return readPublicKey(path, nativeVerify);
  }

  publicKey(holder: string, role: OfflineRole): PublicKeyFile {
    return readPublicKey(join(this.desk.folder, `${role}-${holder}.pub.json`), nativeVerify);
  }

  file(): string {
    return join(this.desk.folder, `${++this.#drafts}.draft.json`);
  }

  /** A draft, carried from one machine to the next. */
  async carry(file: string, ...holders: string[]): Promise<string> {
    let at = file;
    for (const holder of holders) {
      const here = `${at}.${holder}`;
      copyFileSync(at, here);
      const { draft } = await signDraft(this.machine(holder), readDrafts([here], reader));
      writeDraft(here, draft);
      at = here;
    }
    return at;
  }

  publish(...files: string[]): Promise<void> {
    return publish(this.machine('operator'), this.desk.api, readDrafts(files, reader));
  }

  /** Signed by holders who know that it takes the place of what they have pinned. */
  async replaceRoots(file: string, ...holders: string[]): Promise<void> {
    for (const holder of holders) {
      const { draft } = await signDraft(this.machine(holder), readDrafts([file], reader), true);
      writeDraft(file, draft);
    }
    await publish(this.machine('operator'), this.desk.api, readDrafts([file], reader), true);
  }

  /** Alice, Bob and Carol hold both roots (2 of 3), Pat publishes, the operator holds no key at all. */
  async found(): Promise<void> {
    const holders = ['alice', 'bob', 'carol'];
    const keys = [await this.key('pat', 'targets')];
    for (const holder of holders)
      keys.push(await this.key(holder, 'root'), await this.key(holder, 'director-root'));
    const online = await this.desk.api.call('onlineKeys');
    const parts = firstRoots({ keys, threshold: undefined, online, now: this.desk.time.now });
    const file = this.file();
    await conclude(this.machine('operator'), this.desk.api, parts, file, true);
    await this.publish(await this.carry(file, 'alice', 'bob', 'pat'));
  }

  /** What the operator prepares; signed by `holders` and published. */
  async change(changes: RootChange[], holders: string[], stolen = false): Promise<void> {
    const file = await this.prepare(changes, stolen);
    await this.publish(await this.carry(file, ...holders));
  }

  async prepare(changes: RootChange[], stolen = false): Promise<string> {
    const { desk } = this;
    const dir = this.folder('operator');
    const given = { api: desk.api, dir, verify: nativeVerify, clock: desk.clock, purpose: 'test', stolen };
    const file = this.file();
    await conclude(this.machine('operator'), desk.api, await prepareRoots(given, changes), file, true);
    return file;
  }

  staged(...roles: OnlineRole[]): Promise<RootChange[]> {
    return stagedOnlineKeys(this.desk.api, roles);
  }

  /** Published by the operator, signed by Pat. */
  async release(version: string, floor?: number, by = 'pat'): Promise<void> {
    const out = this.file();
    const path = writeSmallModel(join(this.desk.folder, `gas-${version}`), smallModel('gas', version));
    const dir = this.folder('operator');
    const given = { api: this.desk.api, dir, clock: this.desk.clock, verify: nativeVerify, path, out };
    await publishBundle({ ...given, onlyPrepare: true, ...(floor === undefined ? {} : { floor }) });
    await this.publish(await this.carry(out, by));
  }

  async revoke(version: string, reason = ''): Promise<void> {
    const out = this.file();
    const given = {
      api: this.desk.api,
      dir: this.folder('operator'),
      clock: this.desk.clock,
      verify: nativeVerify,
    };
    await revokeModel({ ...given, out, onlyPrepare: true, model: 'gas', version, reason });
    await this.publish(await this.carry(out, 'pat'));
  }

  /** A device that pinned the roots as they are now. */
  async device(id = DEVICE): Promise<Device> {
    return new Device(this.desk, id, (await this.desk.repository.latestRoots())!);
  }

  order(version: string): Promise<void> {
    return this.desk.director.set(DEVICE, 'gas', orderOf('gas', version, { id: `o-${version}` }), null);
  }
}

type Served = (path: string) => Uint8Array | undefined;

/** The real verifier of a device. `served` lets an attacker answer first. */
export class Device {
  readonly store = new MemoryTrustStore();
  served: Served = () => undefined;
  readonly #desk: Desk;
  readonly #id: string;

  constructor(desk: Desk, id: string, roots: { image: Uint8Array; director: Uint8Array }) {
    this.#desk = desk;
    this.#id = id;
    this.store.pin(roots.image, roots.director);
  }

  /** A client with its trust store as it lies on disk: also what a restart finds. */
  client(): TrustClient {
    const { repository, director, blobs, clock } = this.#desk;
    const document = async (path: string) => {
      const forged = this.served(path);
      if (forged) return forged;
      const [, , repo, file] = path.split('/') as ['', 'v1', 'image' | 'director', string];
      if (repo === 'director' && file === 'targets.json') return director.document(this.#id);
      return repository.file(repo, file);
    };
    return new TrustClient({
      fetcher: { document, blob: (sha256: string) => blobs.read(sha256) },
      store: this.store,
      clock,
      keys: reader,
      device: this.#id,
      hardwareTags: [],
    });
  }

  /** `gas@1.0.0`, or the code of each refusal, or of the failure of the whole. */
  async sees(): Promise<string[]> {
    try {
      const view = await this.client().refresh();
      return [
        ...view.orders.map(({ order }) => `${order.model}@${order.version}`),
        ...view.refused.map(({ code }) => code),
      ];
    } catch (thrown) {
      return [(thrown as { code: string }).code];
    }
  }
}
