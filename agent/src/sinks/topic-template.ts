/** `home/{device}/{model}/{label}`: a topic of a message. What a value must not bring into a topic becomes `_`. */
import type { SinkMessage } from './port.ts';

export const PLACEHOLDERS = ['device', 'source', 'model', 'version', 'label'] as const;

const isPlaceholder = (name: string): name is (typeof PLACEHOLDERS)[number] =>
  (PLACEHOLDERS as readonly string[]).includes(name);

/** The first thing in it that is not one of {@link PLACEHOLDERS} or cannot stand in a topic. */
export function templateFault(template: string): string | undefined {
  const odd = [...template.matchAll(/\{([^}]*)\}/g)].find((match) => !isPlaceholder(match[1]!));
  const rest = template.replace(/\{[^}]*\}/g, '');
  return odd?.[0] ?? /[+#{}\0]/.exec(rest)?.[0];
}

export const topicOf = (template: string, message: SinkMessage): string =>
  template.replace(/\{(\w+)\}/g, (whole, name: string) =>
    isPlaceholder(name) ? message[name].replace(/[+#/\0\s]/g, '_') : whole,
  );
