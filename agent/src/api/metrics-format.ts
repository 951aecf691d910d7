/** Metric families in Prometheus' text format 0.0.4 (github.com/prometheus/docs, exposition_formats.md). Pure. */

export type Labels = Record<string, string>;

export interface Family {
  name: string;
  type: 'counter' | 'gauge';
  /** One line. */
  help: string;
  samples: [Labels, number][];
}

const familyOf =
  (type: Family['type']) =>
  (name: string, help: string, samples: [Labels, number][]): Family => ({ name, type, help, samples });
export const counter = familyOf('counter');
export const gauge = familyOf('gauge');

const escapeLabel = (text: string): string =>
  text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

/** As Go's ParseFloat reads it. */
const numberText = (value: number): string =>
  Number.isFinite(value) || Number.isNaN(value) ? String(value) : value > 0 ? '+Inf' : '-Inf';

const sampleLine = (name: string, labels: Labels, value: number): string => {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
  return `${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${numberText(value)}`;
};

const render = ({ name, type, help, samples }: Family): string =>
  [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(([labels, value]) => sampleLine(name, labels, value)),
  ].join('\n');

/** Families without samples are left out. */
export const renderFamilies = (families: readonly Family[]): string =>
  `${families
    .filter((family) => family.samples.length > 0)
    .map(render)
    .join('\n')}\n`;
