import { Badge, type Tone } from './badge.tsx';

export type Verdict = 'calm' | 'drift' | 'not-enough-data' | 'unknown';

const WORDS: Record<Verdict, [Tone, string, string]> = {
  calm: ['good', 'calm', 'Inputs look like the reference.'],
  drift: ['drift', 'drift', 'Inputs or outputs no longer look like the reference.'],
  'not-enough-data': ['plain', 'not enough data', 'Too few windows to judge: this is not a pass.'],
  unknown: ['plain', 'no drift data', 'No drift report has come yet.'],
};

export function VerdictBadge({ verdict }: { verdict: Verdict }) {
  const [tone, text, title] = WORDS[verdict];
  return (
    <Badge tone={tone} title={title}>
      {text}
    </Badge>
  );
}
