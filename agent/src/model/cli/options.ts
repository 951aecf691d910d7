/** What the commands' options have in common. Commander turns what these throw into exit code 2. */
import { InvalidArgumentError, Option } from 'commander';

export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('a number is needed');
  return value;
};

export const count = (text: string): number => {
  const value = number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('a whole number is needed');
  return value;
};

/** At least 1, at most what any of the tools can use. */
export const positive = (text: string): number => {
  const value = count(text);
  if (value < 1 || value > 4096) throw new InvalidArgumentError('a number from 1 to 4096 is needed');
  return value;
};

export const share = (text: string): number => {
  const value = number(text);
  if (value < 0 || value > 1) throw new InvalidArgumentError('a share from 0 to 1 is needed');
  return value;
};

/** `1,2,4` */
export const counts = (text: string): number[] => text.split(',').map(positive);

/** `a,b,c`, in place of the default. */
export const words = (text: string): string[] => text.split(',').filter(Boolean);

/** As {@link words}, added to those given before. */
export const list = (text: string, before: string[]): string[] => [...before, ...text.split(',')];

export interface OutputOption {
  output: 'table' | 'json';
}
export const output = () =>
  new Option('-o, --output <form>', 'how to print').choices(['table', 'json']).default('table');
