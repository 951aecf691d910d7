#!/usr/bin/env node
/**
 * `skein-agent`: the daemon and its commands. Wiring only. `run` prints `{"ready":true,…}` as its first line on standard
 * output; its log is JSON lines on standard error. Commands load what they need when they run: a `status` does not pay
 * for an inference runtime.
 */
import { readFileSync } from 'node:fs';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { Command, CommanderError, Option } from 'commander';
import { readiness } from './api/status.ts';
import { BUFFER_HELP, bufferText, readBuffer } from './cli/buffer.ts';
import type { EraseOptions } from './cli/erase.ts';
import { ERASE_HELP } from './cli/erase-help.ts';
import { fetchStatus, requestPrediction } from './cli/local-client.ts';
import { EXIT, type Output, print, reportFailure } from './cli/output.ts';
import { readSettings, type Settings } from './cli/settings.ts';
import { listSources, SOURCE_HELP, testCommand } from './cli/source-command.ts';
import { configText, findingsText, selftestText, statusText } from './cli/tables.ts';
import { AGENT_VERSION } from './cli/version.ts';
import { configKeys } from './config/keys.ts';
import { jsonLog } from './json-log.ts';
import { settleLater } from './node-settled.ts';
import { detailOf } from './pipeline/outcome-detail.ts';
import type { Outcome } from './pipeline/postprocess.ts';
import { keepCompiled } from './start/keep.ts';
import { systemClock } from './system-clock.ts';

const HELP = `
Examples:
  skein-agent enroll --server https://fleet.example.org:8443 --token TOKEN
  skein-agent run --config /etc/skein/agent.yaml
  skein-agent status -o json | jq .ledger
  skein-agent predict gas 0.1 0.2 0.3        values in the model's order
  skein-agent predict host '{"cpu_user":0.9}'
  skein-agent predict camera photo.jpg       a picture, for models that take one
  skein-agent source test cam1               does it deliver, and how fast?
  skein-agent erase                          give the device away: nothing of it stays here
  skein-agent doctor                         what is wrong here, and what to do about it

The configuration is --config, SKEIN_AGENT_CONFIG, ./.skein/agent/agent.yaml or /etc/skein/agent.yaml;
\`skein-agent config\` lists every key with its unit, default and variable.
Exit codes: 0 done, 1 failed, 2 wrong command or configuration, 3 not enrolled or no agent runs.
`;

interface Options {
  config?: string;
  output: Output;
}

const settingsOf = (command: Command): Settings => readSettings(command.optsWithGlobals<Options>().config);
const outputOf = (command: Command): Output => command.optsWithGlobals<Options>().output;

/** Resolves when asked to stop: by a signal, or because the parent that holds our IPC channel is gone. */
const untilAsked = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve());
    if (process.channel) process.once('disconnect', () => resolve());
  });

async function run(_options: unknown, command: Command): Promise<void> {
  const asked = untilAsked();
  const log = jsonLog('skein-agent', systemClock.now, (line) => void process.stderr.write(line));
  process.on('unhandledRejection', (error) => log.error('unhandled', { error: asSkeinError(error).stack }));
  const { startAgent } = await import('./cli/run.ts');
  const running = await startAgent(settingsOf(command), log);
  const { apiUrl: api, grpcAddress: grpc } = running.agent;
  const ports = { agent: Number(new URL(api).port) };
  process.stdout.write(`${JSON.stringify({ ready: true, device: running.device, api, grpc, ports })}\n`);
  const settling = settleLater(systemClock);
  await asked;
  settling.cancel();
  await running.stop();
  keepCompiled();
  process.exit(EXIT.done);
}

async function enrollCommand(
  options: { server: string; token: string; name?: string; rootsOnly?: boolean },
  command: Command,
): Promise<void> {
  const { config } = settingsOf(command);
  const { enrolDevice } = await import('./cli/enroll.ts');
  const { device, fleet, deviceUrl } = await enrolDevice({ stateDir: config.stateDir, ...options });
  print({ device, fleet, server: deviceUrl }, outputOf(command), () =>
    [
      options.rootsOnly ? `${device} believes new roots` : `enrolled as ${device} in fleet ${fleet}`,
      'Next: skein-agent run (or systemctl start skein-agent)',
    ].join('\n'),
  );
}

async function status(_options: unknown, command: Command): Promise<void> {
  const found = await fetchStatus(settingsOf(command).config);
  print(found, outputOf(command), () => statusText(found));
  if (!readiness(found).ready) process.exitCode = EXIT.failed;
}

async function buffer(_options: unknown, command: Command): Promise<void> {
  const found = await readBuffer(settingsOf(command).config);
  print(found, outputOf(command), () => bufferText(found));
}

async function eraseCommand(options: EraseOptions, command: Command): Promise<void> {
  const { config } = settingsOf(command);
  const { erase, eraseText, planErase, planText } = await import('./cli/erase.ts');
  const plan = planErase(config);
  // To the person who is asked; what was done is the answer.
  if (!options.yes && plan.removed.length > 0) process.stderr.write(`${planText(plan)}\n\n`);
  const report = await erase(config, plan, options);
  print(report, outputOf(command), () => eraseText(report));
}

async function predict(model: string, values: string[], _options: unknown, command: Command): Promise<void> {
  const found = await requestPrediction(settingsOf(command).config, model, requestOf(values));
  print(found, outputOf(command), () => {
    const { version, label, score, alarm } = found as Record<string, string | number>;
    const { top, boxes } = found as Pick<Outcome, 'top' | 'boxes'>;
    const rest = Object.entries(detailOf({ top, boxes })).map(
      ([key, text]) => `\n  ${key.padEnd(7)} ${text}`,
    );
    return `${model}@${version}: ${label}, score ${score}${alarm ? ', ALARM' : ''}${rest.join('')}`;
  });
}

/** One file of a picture, or values. */
const requestOf = (given: string[]): { values: unknown } | { image: string } =>
  given.length === 1 && /\.(jpe?g|png)$/i.test(given[0]!)
    ? { image: pictureText(given[0]!) }
    : { values: valuesOf(given) };

/** @throws SkeinError REQUEST_INVALID */
function pictureText(path: string): string {
  try {
    return readFileSync(path).toString('base64');
  } catch (cause) {
    throw new SkeinError('REQUEST_INVALID', `${path} can not be read`, {
      cause,
      fix: 'Check the path of the picture.',
    });
  }
}

/** A JSON object or array, or numbers. @throws SkeinError REQUEST_INVALID */
function valuesOf(values: string[]): unknown {
  const [first = ''] = values;
  if (values.length === 1 && /^\s*[[{]/.test(first)) {
    try {
      return JSON.parse(first);
    } catch (cause) {
      throw new SkeinError('REQUEST_INVALID', 'the values are not JSON', {
        cause,
        fix: 'Quote it: \'{"a": 1}\'.',
      });
    }
  }
  const wrong = values.find((value) => value.trim() === '' || !Number.isFinite(Number(value)));
  if (wrong === undefined) return values.map(Number);
  throw new SkeinError('REQUEST_INVALID', `“${wrong}” is not a number`, {
    fix: 'Give numbers, or one JSON object.',
  });
}

async function doctor(_options: unknown, command: Command): Promise<void> {
  const { examine } = await import('./cli/doctor.ts');
  const findings = await examine(settingsOf(command));
  print(findings, outputOf(command), () => findingsText(findings));
  if (findings.some((finding) => finding.result === 'failed')) process.exitCode = EXIT.failed;
}

async function selftestCommand(options: { bundle: string; dir?: string }, command: Command): Promise<void> {
  const { selftest } = await import('./cli/selftest.ts');
  const outcome = await selftest(options);
  print(outcome, outputOf(command), () => selftestText(outcome));
  if (!outcome.ok) process.exitCode = EXIT.failed;
}

function config(_options: unknown, command: Command): void {
  const keys = configKeys();
  print(keys, outputOf(command), () => configText(keys));
}

function createProgram(): Command {
  const program = new Command('skein-agent')
    .description('Runs quantized models on this device and reports to a fleet')
    .version(AGENT_VERSION)
    .addHelpText('after', HELP)
    .showHelpAfterError('(skein-agent --help lists the commands)')
    .exitOverride();
  const add = (usage: string, description: string, parent = program): Command =>
    parent
      .command(usage)
      .description(description)
      .option('-c, --config <file>', 'configuration file')
      .addOption(
        new Option('-o, --output <form>', 'table or json').choices(['table', 'json']).default('table'),
      )
      .exitOverride();
  add('enroll', 'Claim an identity with a one-time token')
    .requiredOption('--server <url>', 'device address of the server, https')
    .requiredOption('--token <token>', 'as `skein tokens create` printed it')
    .option('--name <name>', 'shown to people; default is the device id')
    .option(
      '--roots-only',
      'keep identity, data and models; believe the token’s roots from now on (stop the agent first)',
    )
    .action(enrollCommand);
  add('run', 'Run the agent until SIGTERM or SIGINT').action(run);
  add('status', 'What the running agent does').action(status);
  add(
    'predict <model> <values...>',
    'One prediction of a running model: numbers in order, one JSON object, or a picture’s file',
  ).action(predict);
  add('buffer', 'The ledger: where every accepted record is; of the file when no agent runs')
    .addHelpText('after', BUFFER_HELP)
    .action(buffer);
  add('erase', 'Remove everything that this agent keeps here: keys, identity, buffer, trust, models')
    .option('--yes', 'do not ask')
    .option('--stop', 'end the running agent first')
    .addHelpText('after', ERASE_HELP)
    .action(eraseCommand);
  add('doctor', 'Check everything this device needs').action(doctor);
  add('selftest', 'Does this machine run a model and keep what it says? Needs no server and no identity')
    .requiredOption('--bundle <path>', 'bundle folder or .skein file')
    .option('--dir <path>', 'where to leave selftest.db; a folder of its own that is removed when absent')
    .action(selftestCommand);
  const source = program.command('source').description('Try the sources of readings').exitOverride();
  add('list', 'The configured sources', source).action(listSources);
  add('test <name>', 'What one source delivers, and what the installed model makes of it', source)
    .option('--seconds <n>', 'how long; Ctrl-C ends it early', '10')
    .addHelpText('after', SOURCE_HELP)
    .action(testCommand(untilAsked));
  add('config', 'Every configuration key with unit, default and variable').action(config);
  return program;
}

async function main(): Promise<void> {
  // `skein-agent config | head` closes the pipe early; that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.done);
    throw error;
  });
  try {
    await createProgram().parseAsync(process.argv);
  } catch (thrown) {
    if (thrown instanceof CommanderError) process.exitCode = thrown.exitCode === 0 ? EXIT.done : EXIT.usage;
    else reportFailure(thrown);
    // A parent's IPC channel would keep a failed start alive.
    process.exit();
  }
}

void main();
