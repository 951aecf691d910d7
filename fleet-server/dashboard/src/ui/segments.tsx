export interface Choice<T> {
  value: T;
  text: string;
}

/** One of a few, as pressed buttons. */
export function Segments<T extends string | number>({
  label,
  choices,
  value,
  onChoose,
}: {
  label: string;
  choices: readonly Choice<T>[];
  value: T;
  onChoose(value: T): void;
}) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be laid out as one line everywhere
    <div class="segments" role="group" aria-label={label}>
      {choices.map((choice) => (
        <button
          type="button"
          key={choice.value}
          aria-pressed={choice.value === value}
          onClick={() => onChoose(choice.value)}
        >
          {choice.text}
        </button>
      ))}
    </div>
  );
}
