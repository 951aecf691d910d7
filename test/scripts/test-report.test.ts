import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readReport } from '../../scripts/test-report.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-report-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const test = (status: string, fullName: string, ...failureMessages: string[]) => ({
  ...{ status, fullName, failureMessages },
});

function reported(testResults: object[], failed: number): string {
  const file = join(folder, 'unit.json');
  const counts = { numPassedTests: 3, numFailedTests: failed, numPendingTests: 2 };
  writeFileSync(file, JSON.stringify({ ...counts, testResults }));
  return file;
}

describe('the report of a tier', () => {
  it('names each failed test with the beginning of its reason', () => {
    const long = Array.from({ length: 20 }, (_, line) => `line ${line}`).join('\n');
    const results = [test('passed', 'a holds'), test('failed', 'b holds', long)];
    const file = reported(
      [{ name: join(folder, 'x.test.ts'), status: 'failed', assertionResults: results }],
      1,
    );
    const { failures, ...counts } = readReport(file, 1, folder);
    expect(counts).toEqual({ passed: 3, failed: 1, skipped: 2 });
    expect(failures).toHaveLength(1);
    expect(failures[0]!.split('\n').slice(0, 2)).toEqual(['x.test.ts > b holds', '    line 0']);
    expect(failures[0]).not.toContain('line 10');
  });

  it('counts a file that does not load, and says what it said', () => {
    const broken = { name: join(folder, 'y.test.ts'), status: 'failed', message: 'no such module' };
    const { failed, failures } = readReport(reported([{ ...broken, assertionResults: [] }], 0), 1, folder);
    expect(failed).toBe(1);
    expect(failures).toEqual(['y.test.ts\n    no such module']);
  });

  it('is red where there is none', () => {
    const { failed, failures } = readReport(join(folder, 'none.json'), 0, folder);
    expect(failed).toBe(1);
    expect(failures).toEqual(['no report of the tier in none.json']);
  });
});
