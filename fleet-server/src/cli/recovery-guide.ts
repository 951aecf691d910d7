/**
 * `skein keys recover`: what to do when a key is lost or stolen. Each way back is walked in a test with a device's real
 * verifier (test/fleet-server/keys/recovery.test.ts).
 */
import { SkeinError } from '@skein/protocol/errors.ts';

interface Recovery {
  key: string;
  /** What its holder can do with it, and what a thief. */
  means: string;
  lost: string;
  stolen: string;
}

export const RECOVERIES: readonly Recovery[] = [
  {
    key: 'root',
    means: `One of three keys of the image root. Two of them name every other key; alone it can do nothing.`,
    lost: `
Nothing stops. Replace it soon: with another one lost the root could never change again.
  new holder:    skein keys create --role root --name dave && skein keys export root-dave.json
  operator:      skein keys rotate --role root --old carol --new root-dave.pub.json --prepare
  two holders:   skein keys sign image-root.draft.json
  operator:      skein keys publish image-root.draft.json
Devices follow at their next refresh, also those that slept through several changes. Claim tokens that were not used yet
have to be made again: they carry the hash of the roots.`,
    stolen: `
The same, today: the thief lacks one more key. From the new root on the old key counts for nothing.`,
  },
  {
    key: 'root-threshold',
    means: `Two or three keys of the image root (or of the director's root) at once.`,
    lost: `
Devices go on with what they have until the root expires (two years at most: see skein keys list); models can be published
as long as the publisher's key is there. But nobody can sign a next root, so devices have to be told anew whom to trust.
  holders:       skein keys create … and skein keys export, as for the first roots
  operator:      skein keys init --replace --key … --key targets-pat.pub.json --out new.draft.json
  holders:       skein keys sign --replace new.draft.json
  operator:      skein keys publish --replace new.draft.json
  each device:   skein tokens create, then on the device, its agent stopped:
                 skein-agent enroll --server URL --token TOKEN --roots-only
With the publisher's old key among the new ones, devices that are not enrolled again yet still take models. Publish no
further root before the last device is enrolled again: an old device would ask for it and refuse it.`,
    stolen: `
The worst case: the thief can name keys of their own, and devices that the thief reaches will follow. Cut the devices off
from the thief (network, server), make new roots with new keys for everything as above, and enrol every device again:
enrolling forgets all that a device was taught, versions and floors included. Then treat the server as stolen too.`,
  },
  {
    key: 'targets',
    means: `The publisher's key: it approves models, revokes them and raises floors.`,
    lost: `
Running models, rollouts and returns go on for up to a year (skein keys list says until when).
  operator:      skein keys rotate --role targets --new targets-quinn.pub.json --prepare
  root holders:  skein keys sign image-root+image-targets.draft.json        (two of them)
  new publisher: skein keys sign image-root+image-targets.draft.json
  operator:      skein keys publish image-root+image-targets.draft.json
Root and list of models go together, so devices never see one without the other.`,
    stolen: `
The thief can approve models, but only the server can order them: without the server's keys nothing is installed.
  operator:      skein keys rotate --role targets --stolen --new targets-quinn.pub.json --prepare
then sign and publish as above. --stolen takes the list of models from the operator's folder and not from the server, and
names new snapshot and timestamp keys too, so that devices forget versions and floors that the thief drove to their end
(fast-forward). Look through the list before you sign: skein keys show FILE. What the thief approved is revoked with it.`,
  },
  {
    key: 'snapshot',
    means: `Online, on the server: says which list of models is the latest.`,
    lost: `
skein keys list says ONLINE_KEY_MISSING. Restore the server's keys folder, or have two root holders name a new key:
  operator:      skein keys rotate --role snapshot --prepare       (the server makes the key)
  root holders:  skein keys sign image-root.draft.json
  operator:      skein keys publish image-root.draft.json
Meanwhile devices run what they have; after seven days they install nothing new until it is done.`,
    stolen: `
The thief can hold devices at old lists or drive versions to their end, but approve nothing. Rotate both at once:
  operator:      skein keys rotate --role snapshot --role timestamp --prepare
then sign and publish as above: devices forget the thief's versions together with the key.`,
  },
  {
    key: 'timestamp',
    means: `Online, on the server: says that the snapshot is fresh.`,
    lost: `As for snapshot, with --role timestamp.`,
    stolen: `As for snapshot: rotate both at once.`,
  },
  {
    key: 'director',
    means: `Online, on the server: signs each device's orders; ack signs acknowledgements of data.`,
    lost: `
Devices get no new orders and keep what they run.
  operator:             skein keys rotate --role director --prepare
  two director holders: skein keys sign director-root.draft.json
  operator:             skein keys publish director-root.draft.json`,
    stolen: `
The thief can order devices about, but only among approved models at or above their floor. As above, with
--role director --role ack; raise floors of releases that must not come back (skein models publish --floor). If the server
was broken into, all its keys are stolen:
  operator:      skein keys rotate --role snapshot --role timestamp --role director --role ack --prepare
and both roots are signed by their holders in one file.`,
  },
  {
    key: 'director-root',
    means: `One of three keys of the director's root. Two of them name the director's online key.`,
    lost: `As for root, with --role director-root; all of them lost: as for root-threshold.`,
    stolen: `As for root. Two stolen: orders can be forged, models can not; new roots and enrolling again end it.`,
  },
  {
    key: 'passphrase',
    means: `It opens the key files of one person. Nobody else has it and nothing can find it.`,
    lost: `The keys in those files are lost: see the role of each.`,
    stolen: `Harmless without the files. With them: see the role of each, stolen.`,
  },
];

/** @throws SkeinError NOT_FOUND */
export function guideOf(key: string | undefined): string {
  if (key === undefined) return overview();
  const found = RECOVERIES.find((one) => one.key === key);
  if (!found) {
    throw new SkeinError('NOT_FOUND', `there is no recovery for ${JSON.stringify(key)}`, {
      fix: `One of: ${RECOVERIES.map((one) => one.key).join(', ')}.`,
    });
  }
  return `${found.means}\n\nLOST\n${found.lost.trim()}\n\nSTOLEN\n${found.stolen.trim()}\n`;
}

const overview = (): string => `Which key was lost or stolen?

${RECOVERIES.map(({ key, means }) => `  skein keys recover ${key.padEnd(14)}  ${means}`).join('\n')}

--prepare leaves signing to others; without it the keys of the folder sign at once, and what they suffice for is published.
In every case the models that run keep running: expired or missing metadata stops installing, never inference.
Afterwards look at skein keys list, and at skein audit for what was done with the key.
`;
