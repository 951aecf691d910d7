/**
 * A disk of which power can be taken: what was synced is there afterwards, and of what was not, anything may be. Pure.
 *
 * The weakest promises of POSIX are taken: a sync of a file keeps its bytes and its size, a sync of a folder keeps the
 * names in it, and nothing else is kept. Changes that wait reach the disk in any order or never; a write reaches it by
 * sectors of 512 bytes, and a file may have grown (zeros) without its bytes. A rename is one change, as on every file
 * system with a journal.
 */
import type { Chance } from '../seeded.ts';
import type { DiskOp } from './disk-log.ts';

const SECTOR = 512;

/** Files by path; null: a folder. The root is not in it. */
export type DiskImage = Map<string, Uint8Array | null>;

/** A file or a folder, apart from its names. */
interface Node {
  bytes: Uint8Array;
  names: Map<string, Node> | null;
}

type Change =
  | { kind: 'write'; node: Node; offset: number; bytes: Uint8Array }
  | { kind: 'size'; node: Node; size: number }
  | { kind: 'name'; node: Node; folder: Node; gone: string | null; made: string | null };

/** What becomes of a change that was not synced. `sized`: the file has grown, and holds zeros where the bytes should be. */
type Fate = 'kept' | 'lost' | 'torn' | 'sized';

/**
 * `nothing` and `everything` of what waits; `names`: the names, and files that have grown, but no bytes; `bytes`: no names;
 * `prefix`: up to some change, which is torn; `scattered`: each change for itself.
 */
export const LOSSES = ['nothing', 'everything', 'names', 'bytes', 'prefix', 'scattered'] as const;
export type Loss = (typeof LOSSES)[number];

export class LossyDisk {
  /** What the disk holds for certain. */
  readonly #root = folder();
  /** What programs see. Nodes have a twin on each side. */
  readonly #seen = folder();
  readonly #twin = new Map<Node, Node>();
  #waiting: Change[] = [];

  /** @param before all of it is on the disk for certain */
  constructor(before: DiskImage) {
    this.#twin.set(this.#seen, this.#root);
    for (const [path, bytes] of [...before].sort(([a], [b]) => (a < b ? -1 : 1))) {
      this.#make(path, bytes === null);
      if (bytes) this.#write(path, 0, bytes);
    }
    for (const change of this.#waiting) apply(change, 'kept', undefined);
    this.#waiting = [];
  }

  perform(op: DiskOp): void {
    switch (op.op) {
      case 'open':
        if (op.make && !this.#find(op.path)) this.#make(op.path, false);
        if (op.empty) this.#resize(op.path, 0);
        break;
      case 'mkdir':
        this.#make(op.path, true);
        break;
      case 'write':
        this.#write(op.path, op.offset, op.bytes);
        break;
      case 'truncate':
        this.#resize(op.path, op.size);
        break;
      case 'rename':
        this.#rename(op.path, op.to);
        break;
      case 'unlink':
        this.#rename(op.path, null);
        break;
      case 'sync':
        this.#sync(op.path);
        break;
      case 'told':
        break;
    }
  }

  /** How many changes a loss of power would put at risk now. */
  get waiting(): number {
    return this.#waiting.length;
  }

  now(): DiskImage {
    return imageOf(this.#seen);
  }

  /** One disk that may be found after power was lost now. */
  after(loss: Loss, chance: Chance): DiskImage {
    const copies = new Map<Node, Node>();
    const root = copyOf(this.#root, copies);
    const end = chance.below(this.#waiting.length + 1);
    this.#waiting.forEach((change, at) => {
      apply(rebased(change, copies), fateOf(loss, change, at - end, chance), chance);
    });
    return imageOf(root);
  }

  #make(path: string, isFolder: boolean): void {
    const { parent, name } = this.#place(path);
    const made = isFolder ? folder() : file();
    const twin = isFolder ? folder() : file();
    this.#twin.set(made, twin);
    parent.names!.set(name, made);
    this.#waiting.push({ kind: 'name', node: twin, folder: this.#twin.get(parent)!, gone: null, made: name });
  }

  #write(path: string, offset: number, bytes: Uint8Array): void {
    const node = this.#existing(path);
    put(node, offset, bytes);
    this.#waiting.push({ kind: 'write', node: this.#twin.get(node)!, offset, bytes });
  }

  #resize(path: string, size: number): void {
    const node = this.#existing(path);
    node.bytes = resized(node.bytes, size);
    this.#waiting.push({ kind: 'size', node: this.#twin.get(node)!, size });
  }

  #rename(path: string, to: string | null): void {
    const { parent, name } = this.#place(path);
    const node = this.#existing(path);
    parent.names!.delete(name);
    const target = to === null ? null : this.#place(to);
    if (target && target.parent !== parent) throw new Error(`${path} was renamed into another folder, ${to}`);
    if (target) parent.names!.set(target.name, node);
    const at = { node: this.#twin.get(node)!, folder: this.#twin.get(parent)! };
    this.#waiting.push({ kind: 'name', ...at, gone: name, made: target?.name ?? null });
  }

  #sync(path: string): void {
    const node = this.#twin.get(path === '' ? this.#seen : this.#existing(path))!;
    const kept = (change: Change) => (change.kind === 'name' ? change.folder : change.node) === node;
    for (const change of this.#waiting.filter(kept)) apply(change, 'kept', undefined);
    this.#waiting = this.#waiting.filter((change) => !kept(change));
  }

  #place(path: string): { parent: Node; name: string } {
    const cut = path.lastIndexOf('/');
    const parent = cut < 0 ? this.#seen : this.#existing(path.slice(0, cut));
    return { parent, name: path.slice(cut + 1) };
  }

  #find(path: string): Node | undefined {
    return path.split('/').reduce<Node | undefined>((at, name) => at?.names?.get(name), this.#seen);
  }

  #existing(path: string): Node {
    const found = this.#find(path);
    if (!found) throw new Error(`${path} is not there`);
    return found;
  }
}

const file = (): Node => ({ bytes: new Uint8Array(), names: null });
const folder = (): Node => ({ bytes: new Uint8Array(), names: new Map() });

function fateOf(loss: Loss, { kind }: Change, fromEnd: number, chance: Chance): Fate {
  switch (loss) {
    case 'nothing':
      return 'lost';
    case 'everything':
      return 'kept';
    case 'names':
      return kind === 'write' ? 'sized' : 'kept';
    case 'bytes':
      return kind === 'name' ? 'lost' : 'kept';
    case 'prefix':
      return fromEnd < 0 ? 'kept' : fromEnd > 0 ? 'lost' : kind === 'write' ? 'torn' : 'lost';
    case 'scattered':
      return chance.pick(kind === 'write' ? ['kept', 'lost', 'torn', 'sized'] : ['kept', 'lost']);
  }
}

function apply(change: Change, fate: Fate, chance: Chance | undefined): void {
  if (fate === 'lost') return;
  if (change.kind === 'size') change.node.bytes = resized(change.node.bytes, change.size);
  else if (change.kind === 'name') applyName(change);
  else if (fate === 'kept') put(change.node, change.offset, change.bytes);
  else if (fate === 'sized') grow(change.node, change.offset + change.bytes.length);
  else tear(change, chance!);
}

function applyName({ folder: { names }, node, gone, made }: Extract<Change, { kind: 'name' }>): void {
  if (gone !== null && names!.get(gone) === node) names!.delete(gone);
  if (made !== null) names!.set(made, node);
}

/** Each sector for itself is the new one or what was there. */
function tear({ node, offset, bytes }: Extract<Change, { kind: 'write' }>, chance: Chance): void {
  if (chance.is(0.5)) grow(node, offset + bytes.length);
  for (let from = 0; from < bytes.length; ) {
    const length = Math.min(bytes.length - from, SECTOR - ((offset + from) % SECTOR));
    if (chance.is(0.5)) put(node, offset + from, bytes.subarray(from, from + length));
    from += length;
  }
}

function put(node: Node, offset: number, bytes: Uint8Array): void {
  grow(node, offset + bytes.length);
  node.bytes = node.bytes.slice();
  node.bytes.set(bytes, offset);
}

function grow(node: Node, size: number): void {
  if (node.bytes.length < size) node.bytes = resized(node.bytes, size);
}

function resized(bytes: Uint8Array, size: number): Uint8Array {
  const made = new Uint8Array(size);
  made.set(bytes.subarray(0, size));
  return made;
}

/** Bytes are never changed in place, so copies share them. */
function copyOf(node: Node, copies: Map<Node, Node>): Node {
  const known = copies.get(node);
  if (known) return known;
  const copy: Node = { bytes: node.bytes, names: node.names && new Map() };
  copies.set(node, copy);
  for (const [name, child] of node.names ?? []) copy.names!.set(name, copyOf(child, copies));
  return copy;
}

function rebased(change: Change, copies: Map<Node, Node>): Change {
  const node = copyOf(change.node, copies);
  return change.kind === 'name'
    ? { ...change, node, folder: copyOf(change.folder, copies) }
    : { ...change, node };
}

function imageOf(root: Node, prefix = '', image: DiskImage = new Map()): DiskImage {
  for (const [name, node] of root.names!) {
    image.set(prefix + name, node.names ? null : node.bytes);
    if (node.names) imageOf(node, `${prefix}${name}/`, image);
  }
  return image;
}
