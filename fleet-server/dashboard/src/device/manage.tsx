import type { DeviceSummary } from '@skein/protocol/api.ts';
import { useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { putDevice } from '../data/store.ts';
import { Confirm } from '../ui/confirm.tsx';
import { TextField } from '../ui/field.tsx';

/** Name and groups, and the end of an identity. */
export function Manage({ device }: { device: DeviceSummary }) {
  const [asked, setAsked] = useState<'edit' | 'revoke'>();
  const close = () => setAsked(undefined);
  return (
    <>
      <button type="button" class="button" onClick={() => setAsked('edit')}>
        Edit
      </button>
      {!device.revoked && (
        <button type="button" class="button danger" onClick={() => setAsked('revoke')}>
          Revoke
        </button>
      )}
      {asked === 'edit' && <Edit device={device} onClose={close} />}
      {asked === 'revoke' && (
        <Confirm
          confirmation={{
            title: `Revoke ${device.name || device.id}?`,
            text: 'It is disconnected within seconds and can not come back with this identity. What it has stored here stays. To use it again, enrol it anew.',
            verb: 'Revoke',
            danger: true,
            act: () => call('revokeDevice', { params: { id: device.id } }),
          }}
          onClose={close}
        />
      )}
    </>
  );
}

function Edit({ device, onClose }: { device: DeviceSummary; onClose(): void }) {
  const [name, setName] = useState(device.name);
  const [groups, setGroups] = useState(device.groups.join(' '));
  const act = async () => {
    const body = { name: name.trim(), groups: [...new Set(groups.split(/[\s,;]+/).filter(Boolean))] };
    putDevice(await call('changeDevice', { params: { id: device.id }, body }));
  };
  return (
    <Confirm
      confirmation={{
        title: 'Name and groups',
        text: 'Rollouts are aimed at groups; a device may be in several.',
        verb: 'Save',
        danger: false,
        act,
      }}
      onClose={onClose}
    >
      <TextField id="device-name" label="Name" value={name} onInput={setName} />
      <TextField
        id="device-groups"
        label="Groups"
        value={groups}
        onInput={setGroups}
        hint="Separated by spaces; small letters, digits and hyphens."
      />
    </Confirm>
  );
}
