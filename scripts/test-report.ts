/** What a tier's JSON report says: the counts, and every failure in a few lines, to be said again where a long log ends. */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

export interface Count {
  passed: number;
  failed: number;
  skipped: number;
  /** A line for the name of each failure, and the first of its reason. */
  failures: string[];
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  testResults: {
    name: string;
    status: string;
    message: string;
    assertionResults: { status: string; fullName: string; failureMessages: string[] }[];
  }[];
}

const REASON_LINES = 6;

/**
 * @param code the runner's exit code: a file that does not even load fails no test, yet a red run is never all green
 * @param root file names are said from here
 */
export function readReport(file: string, code: number, root: string): Count {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as VitestReport;
    const failed = Math.max(report.numFailedTests, code === 0 ? 0 : 1);
    const counts = { passed: report.numPassedTests, failed, skipped: report.numPendingTests };
    return { ...counts, failures: failuresOf(report, root) };
  } catch {
    return {
      passed: 0,
      failed: 1,
      skipped: 0,
      failures: [`no report of the tier in ${relative(root, file)}`],
    };
  }
}

function failuresOf(report: VitestReport, root: string): string[] {
  return report.testResults.flatMap(({ name, status, message, assertionResults }) => {
    const tests = assertionResults.filter((test) => test.status === 'failed');
    const file = relative(root, name);
    if (tests.length === 0) return status === 'failed' ? [said(file, message)] : [];
    return tests.map((test) => said(`${file} > ${test.fullName}`, test.failureMessages.join('\n')));
  });
}

const said = (title: string, reason: string): string =>
  [title, ...reason.trim().split('\n').slice(0, REASON_LINES)].join('\n    ');
