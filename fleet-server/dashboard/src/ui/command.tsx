import { useState } from 'preact/hooks';

/** A command to type, with a button that copies it. Clipboards exist on https and localhost only; else it is selectable text. */
export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(true));
  return (
    <div class="command">
      <code>{text}</code>
      {globalThis.navigator?.clipboard && (
        <button type="button" class="button quiet small" onClick={copy} aria-label={`Copy: ${text}`}>
          <span aria-live="polite">{copied ? 'Copied' : 'Copy'}</span>
        </button>
      )}
    </div>
  );
}
