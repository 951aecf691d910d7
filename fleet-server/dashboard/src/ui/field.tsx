import type { ComponentChildren } from 'preact';

/** A labelled text field; what is wrong is tied to it, so a screen reader says both. */
export function TextField({
  id,
  label,
  value,
  hint,
  wrong,
  onInput,
  numeric = false,
}: {
  id: string;
  label: string;
  value: string;
  hint?: ComponentChildren;
  wrong?: string | undefined;
  onInput(value: string): void;
  numeric?: boolean;
}) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        value={value}
        autoComplete="off"
        spellcheck={false}
        inputMode={numeric ? 'decimal' : 'text'}
        aria-invalid={wrong !== undefined}
        aria-describedby={`${id}-about`}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      <div id={`${id}-about`}>
        {wrong ? <span class="wrong">{wrong}</span> : <span class="hint">{hint}</span>}
      </div>
    </div>
  );
}

export interface Option {
  value: string;
  text: string;
}

export function SelectField({
  id,
  label,
  value,
  options,
  hint,
  wrong,
  onChange,
}: {
  id: string;
  label: string;
  value: string;
  options: readonly Option[];
  hint?: ComponentChildren;
  wrong?: string | undefined;
  onChange(value: string): void;
}) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        value={value}
        aria-invalid={wrong !== undefined}
        aria-describedby={`${id}-about`}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.text}
          </option>
        ))}
      </select>
      <div id={`${id}-about`}>
        {wrong ? <span class="wrong">{wrong}</span> : <span class="hint">{hint}</span>}
      </div>
    </div>
  );
}
