/**
 * A strict reader of Prometheus' text format 0.0.4 (github.com/prometheus/docs, exposition_formats.md): what a scrape
 * would refuse, or take for something else, is an error with its line.
 */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const COMMENT = new RegExp(`^# (HELP|TYPE) (${NAME}) (.+)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,(?=.)|$)/;
const NUMBER = /^([-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?|NaN|[-+]Inf)$/;

function labelsOf(text: string, fail: (what: string) => never): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== ''; ) {
    const [whole, key, value] = LABEL.exec(rest) ?? fail(`labels at \`${rest}\``);
    if (Object.hasOwn(labels, key!)) fail(`label ${key} twice`);
    labels[key!] = value!.replaceAll(/\\(.)/g, (_all, c: string) => (c === 'n' ? '\n' : c));
    rest = rest.slice(whole.length);
  }
  return labels;
}

/** @throws Error with line and reason */
export function parseExposition(text: string): Sample[] {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const described = new Map<string, Set<string>>();
  const seen = new Set<string>();
  const samples: Sample[] = [];
  let family = '';
  text
    .slice(0, -1)
    .split('\n')
    .forEach((line, index) => {
      const fail = (what: string): never => {
        throw new Error(`line ${index + 1}: ${what}: ${line}`);
      };
      const comment = COMMENT.exec(line);
      if (comment) {
        const [, kind, name, words] = comment as unknown as [string, string, string, string];
        if (kind === 'HELP' && described.has(name)) fail('a family in two places');
        if (kind === 'TYPE' && !/^(counter|gauge)$/.test(words)) fail('no type that we use');
        const kinds = described.get(name) ?? new Set();
        described.set(name, kinds.add(kind));
        family = name;
        return;
      }
      const [, name, labelText, number] = SAMPLE.exec(line) ?? fail('neither a comment nor a sample');
      if (name !== family || described.get(name!)?.size !== 2) fail('HELP and TYPE are not right before');
      if (!NUMBER.test(number!)) fail('no number');
      const labels = labelsOf(labelText ?? '', fail);
      const key = JSON.stringify([name, Object.entries(labels).sort()]);
      if (seen.has(key)) fail('a series twice');
      seen.add(key);
      samples.push({ name: name!, labels, value: Number(number!.replace('Inf', 'Infinity')) });
    });
  return samples;
}
