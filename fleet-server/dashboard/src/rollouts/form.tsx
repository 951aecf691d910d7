import type { ModelView } from '@skein/protocol/api.ts';
import { useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { asProblem, type ProblemError } from '../data/problem.ts';
import { deviceList, putRollout } from '../data/store.ts';
import { goTo } from '../router.ts';
import { SelectField, TextField } from '../ui/field.tsx';
import { Problem } from '../ui/problem.tsx';
import { type Draft, FIRST_DRAFT, readDraft, splitStages, type Wrong } from './draft.ts';
import { draftText } from './draft-text.ts';
import { ProbationFields } from './probation-fields.tsx';
import { StageHint } from './stage-hint.tsx';

const rolloutOptions = (models: readonly ModelView[]) =>
  models
    .filter((model) => !model.revoked && model.release >= model.floor)
    .sort((a, b) => a.name.localeCompare(b.name) || b.release - a.release)
    .map(({ name, version }) => ({ value: `${name}@${version}`, text: `${name} ${version}` }));

/** Devices of a group that a rollout would reach. */
const sizeOf = (group: string): number =>
  deviceList.value.filter((device) => !device.revoked && (group === 'all' || device.groups.includes(group)))
    .length;

export function RolloutForm({
  models,
  chosen,
}: {
  models: readonly ModelView[];
  chosen: string | undefined;
}) {
  const options = rolloutOptions(models);
  const [draft, setDraft] = useState<Draft>({ ...FIRST_DRAFT, model: chosen ?? options[0]?.value ?? '' });
  const [wrong, setWrong] = useState<Wrong>({});
  const [problem, setProblem] = useState<ProblemError>();
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<Draft>) => {
    const next = { ...draft, ...part };
    setDraft(next);
    // What was marked wrong is cleared as soon as it is right; nothing new is marked while typing.
    const read = readDraft(next);
    setWrong((old) => ('wrong' in read ? kept(old, read.wrong) : {}));
  };

  const submit = async (event: Event) => {
    event.preventDefault();
    const read = readDraft(draft);
    if ('wrong' in read) {
      setWrong(read.wrong);
      return document.getElementById(`draft-${Object.keys(read.wrong)[0]}`)?.focus();
    }
    setBusy(true);
    setProblem(undefined);
    try {
      const rollout = await call('createRollout', { body: read.spec });
      putRollout(rollout);
      goTo({ page: 'rollout', id: rollout.id });
    } catch (thrown) {
      setProblem(asProblem(thrown));
      setBusy(false);
    }
  };

  const groups = ['all', ...new Set(deviceList.value.flatMap((device) => device.groups))];
  const devices = sizeOf(draft.group);
  const text = draftText({ draft, wrong, change });
  return (
    <form class="form card" onSubmit={submit} noValidate>
      <div class="row">
        <SelectField
          id="draft-model"
          label="Model"
          value={draft.model}
          options={options}
          wrong={wrong.model}
          onChange={(model) => change({ model })}
          hint="Published and allowed by the floor."
        />
        <SelectField
          id="draft-group"
          label="Group"
          value={draft.group}
          options={groups.map((group) => ({ value: group, text: group === 'all' ? 'all devices' : group }))}
          wrong={wrong.group}
          onChange={(group) => change({ group })}
          hint={`${devices} ${devices === 1 ? 'device' : 'devices'}`}
        />
      </div>
      <TextField
        {...text('stages')}
        label="Stages"
        hint={<StageHint stages={splitStages(draft.stages)} devices={devices} />}
      />
      <div class="row">
        <TextField {...text('soak')} label="Soak" hint="A stage waits this long after its last commit." />
        <TextField
          {...text('deadline')}
          label="Stage deadline"
          hint="Devices that are late then do not hold it up."
        />
        <TextField
          {...text('maxFailures')}
          label="Failures tolerated"
          numeric
          hint="One more halts the rollout."
        />
      </div>
      <ProbationFields draft={draft} wrong={wrong} change={change} />
      {problem && <Problem problem={problem} />}
      <div class="actions">
        <button type="submit" class="button primary" disabled={busy}>
          {busy ? 'Starting…' : 'Start rollout'}
        </button>
      </div>
    </form>
  );
}

const kept = (old: Wrong, now: Wrong): Wrong =>
  Object.fromEntries(Object.entries(now).filter(([field]) => field in old));
