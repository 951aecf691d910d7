/** Names that look like others, turn text around, or lead somewhere: none of them is a model, version, device or fleet. */

import { requireName } from '@skein/fleet-server/keys/roles.ts';
import { EnrolAnswer, RenewRequest } from '@skein/protocol/api.ts';
import { checkHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { manifestPath, parseManifest } from '@skein/protocol/manifest.ts';
import { DirectorOrders, ModelTarget, Order } from '@skein/protocol/orders.ts';
import { checker } from '@skein/protocol/schema.ts';
import { deviceMay, isId, parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { searchTarget } from '@skein/protocol/trust/delegations.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import type { Targets } from '@skein/protocol/trust/metadata.ts';
import { describe, expect, it } from 'vitest';
import { fileNameOf } from '../../scripts/tuf/disk-folder.ts';
import { smallModel } from '../fleet-server/models/small-model.ts';
import { orderOf, sha256 } from './trust/simulated-repository.ts';

/** What stands for `name`, and is not `name`. */
const tricks = (name: string): [string, string][] => [
  ['empty', ''],
  ['a Cyrillic letter that looks the same', name.replace(/[aeo]/, (c) => ({ a: 'а', e: 'е', o: 'о' })[c]!)],
  ['a full-width letter', name.replace(/[a-z0-9]/, (c) => String.fromCodePoint(c.codePointAt(0)! + 0xfee0))],
  ['capitals', name.toUpperCase() === name ? `${name}A` : name.toUpperCase()],
  ['a Turkish dotless i', `${name}ı`],
  ['a composed letter', `${name}\u00e9`],
  ['a combining accent', `${name}e\u0301`],
  ['right-to-left override', `\u202e${name}`],
  ['a right-to-left mark behind it', `${name}\u200f`],
  ['zero width space', `${name.slice(0, 1)}\u200b${name.slice(1)}`],
  ['zero width joiner', `${name}\u200d`],
  ['a byte order mark', `\ufeff${name}`],
  ['NUL', `${name}\0`],
  ['NUL and a suffix', `${name}\0.json`],
  ['a line break', `${name}\n`],
  ['a lone surrogate', `${name}\ud800`],
  ['a pair of surrogates', `${name}\u{1f9a2}`],
  ['white space before', ` ${name}`],
  ['dots alone', '..'],
  ['a way up', `../${name}`],
  ['a way up behind', `${name}/../${name}`],
  ['a slash', `${name}/x`],
  ['a backslash', `${name}\\x`],
  ['percent encoding', `${name}%2e%2e%2f`],
  ['an absolute path', `/${name}`],
  ['topic wildcards', `${name}/#`],
  ['a topic level for all', '+'],
  ['overlong', name.repeat(60)],
];

const accepts = (task: () => unknown): boolean => {
  try {
    task();
    return true;
  } catch (thrown) {
    expect((thrown as { code?: string }).code, String(thrown)).toMatch(/^[A-Z_]+$/);
    return false;
  }
};
const order = checker(Order, 'METADATA_INVALID');
const target = checker(ModelTarget, 'METADATA_INVALID');
const orders = checker(DirectorOrders, 'METADATA_INVALID');
const answer = checker(EnrolAnswer, 'MESSAGE_INVALID');
const renewal = checker(RenewRequest, 'MESSAGE_INVALID');

const whole = { device: 'd-one', certificate: '', ca: '', deviceUrl: '', mqttUrl: '' };
const header = {
  ...{
    v: 1,
    fleet: 'home',
    device: 'd-one',
    stream: 'events',
    epoch: '0'.repeat(16),
    ordinal: 1,
    seq: 0,
    n: 1,
  },
  ...{ prev: NO_HEAD, observed: 1, kept: 1, gaps: [], bridge: null },
};
const manifest = (change: object) =>
  parseManifest.parse(Buffer.from(JSON.stringify({ ...smallModel().manifest, ...change })), 'm');
const model = (name: string) => ({ model: name, version: '1.0.0', release: 1, floor: 0, tags: [] });

/** Each place where such a name enters, with one that is good there. */
const places: [string, string, (name: string) => unknown][] = [
  ['a model of an order', 'aeon', (name) => order.check(orderOf(name, '1.0.0'), 'o')],
  ['a version of an order', '1.2.30-beta', (version) => order.check(orderOf('gas', version), 'o')],
  ['a model of a signed target', 'aeon', (name) => target.check(model(name), 't')],
  [
    'a version of a signed target',
    '1.2.30-beta',
    (version) => target.check({ ...model('gas'), version }, 't'),
  ],
  ['a manifest’s name', 'aeon', (name) => manifest({ name })],
  ['a manifest’s version', '1.2.30-beta', (version) => manifest({ version })],
  [
    'a device that orders are for',
    'd-aeon',
    (device) => orders.check({ device, imageSnapshotVersion: 1, ackKeys: ['0'.repeat(64)], orders: [] }, 'd'),
  ],
  ['a device that enrols', 'd-aeon', (device) => answer.check({ ...whole, device, fleet: 'home' }, 'a')],
  ['a fleet that is enrolled in', 'aeon', (fleet) => answer.check({ ...whole, fleet }, 'a')],
  [
    'a device that renews',
    'd-aeon',
    (device) => renewal.check({ device, csr: '', at: 0, signature: '0'.repeat(128) }, 'r'),
  ],
  ['a device of a batch', 'd-aeon', (device) => checkHeader({ ...header, device })],
  ['a fleet of a batch', 'aeon', (fleet) => checkHeader({ ...header, fleet })],
  ['a holder of a key', 'aeon', (name) => requireName(name)],
];

describe.each(places)('%s', (_, good, read) => {
  it('is what it looks like', () => {
    expect(accepts(() => read(good))).toBe(true);
  });

  it.each(tricks(good))('is not taken with %s', (_what, name) => {
    expect(name).not.toBe(good);
    expect(
      accepts(() => read(name)),
      JSON.stringify(name),
    ).toBe(false);
  });
});

describe('a topic', () => {
  it.each(tricks('d-aeon'))('of a device with %s is nobody’s', (_, device) => {
    expect(isId(device)).toBe(false);
    expect(parseTopic(topicFor('home', device, 'status'))?.device).not.toBe(device);
    expect(deviceMay('d-aeon', 'home', 'up', topicFor('home', device, 'status'))).toBe(false);
    expect(deviceMay(device, 'home', 'up', topicFor('home', 'd-aeon', 'status'))).toBe(false);
  });
});

/** Names of roles and paths of targets may be any text: what counts is that two of them are never one. */
describe('any text', () => {
  const file = { length: 1, hashes: { sha256: sha256('x') } };

  it.each(tricks('models/aeon/1.0.0/manifest.json').filter(([, path]) => path.isWellFormed()))(
    'as a target’s path with %s is another target',
    (_, path) => {
      const good = manifestPath('aeon', '1.0.0');
      const targets = { targets: { [path]: { ...file, custom: model('aeon') } } } as unknown as Targets;
      expect(searchTarget(targets, good).next()).toEqual({ done: true, value: undefined });
      expect(searchTarget(targets, path).next().value).toMatchObject(file);
      // It is not the model that it says it is, so no release floor comes of it either.
      expect(readModelTarget(path, { ...file, custom: model('aeon') })).toBeUndefined();
    },
  );

  it('as a role’s name has a file of its own in one folder', () => {
    const names = ['aeon', '.', '...', ...tricks('aeon').map(([, name]) => name)].filter((n) =>
      n.isWellFormed(),
    );
    const files = names.map(fileNameOf);
    expect(new Set(files).size).toBe(new Set(names).size);
    for (const name of files) {
      expect(name).not.toMatch(/[/\\\0]|^\.{1,2}$/);
      expect(Buffer.byteLength(name)).toBeLessThan(250);
    }
  });
});
