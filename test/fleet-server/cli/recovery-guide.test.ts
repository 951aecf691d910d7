import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { guideOf, RECOVERIES } from '@skein/fleet-server/cli/recovery-guide.ts';
import { createProgram } from '@skein/fleet-server/cli/skein.ts';
import { KEY_ROLES } from '@skein/fleet-server/keys/roles.ts';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';

const find = (command: Command, name: string) => command.commands.find((known) => known.name() === name);
const whole = [guideOf(undefined), ...RECOVERIES.map(({ key }) => guideOf(key))].join('\n');

describe('the recovery guide', () => {
  it('has a way back for every role that a root names, and for what people forget', () => {
    const keys = RECOVERIES.map(({ key }) => key);
    expect(keys).toEqual(expect.arrayContaining([...KEY_ROLES, 'root-threshold', 'passphrase']));
    for (const { lost, stolen } of RECOVERIES) expect([lost.trim(), stolen.trim()]).not.toContain('');
  });

  it('names only commands and options that there are', async () => {
    const program = await createProgram(['keys', 'models']);
    const lines = whole.split('\n').flatMap((line) => line.split('&&').map((part) => part.trim()));
    let checked = 0;
    for (const line of lines) {
      const [, group, name, rest] = /skein (keys|models|tokens) ([a-z]+)(.*)/.exec(line) ?? [];
      if (!group || !name) continue;
      const command = find(find(program, group)!, name);
      expect(command, line).toBeDefined();
      const known = command!.options.map(({ long }) => long);
      for (const [option] of (rest ?? '').matchAll(/(?<= )--[a-z-]+/g)) {
        expect(known, line).toContain(option);
        checked++;
      }
    }
    expect(checked).toBeGreaterThan(15);
  });

  it('speaks of recoveries that are walked in a test', () => {
    const tests = readFileSync(join(import.meta.dirname, '../keys/recovery.test.ts'), 'utf8');
    for (const what of [
      'a root key of three',
      'the root threshold',
      'the publisher’s key',
      'an online key',
      'director stolen',
      'director lost',
      'the director’s root',
      'fast-forward recovery',
    ])
      expect(tests).toContain(what);
  });

  it('says what it has when it is asked for something else', () => {
    expect(() => guideOf('nothing')).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND', fix: expect.stringContaining('root-threshold') }),
    );
  });
});
