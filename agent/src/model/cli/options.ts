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

export const list = (text: string, before: string[]): string[] => [...before, ...text.split(',')];

export interface OutputOption {
  output: 'table' | 'json';
}
export const output = () =>
  new Option('-o, --output <form>', 'how to print').choices(['table', 'json']).default('table');
