import type { ComponentChildren } from 'preact';
import { Command } from './command.tsx';

export interface Step {
  say: string;
  command: string;
}

/** An empty page is an instruction: what would be here, and the commands that bring it about. */
export function Empty({
  title,
  steps = [],
  children,
}: {
  title: string;
  steps?: Step[];
  children?: ComponentChildren;
}) {
  return (
    <section class="card empty">
      <h2>{title}</h2>
      {children}
      {steps.length > 0 && (
        <ol>
          {steps.map((step) => (
            <li key={step.command} class="stack">
              <span>{step.say}</span>
              <Command text={step.command} />
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
