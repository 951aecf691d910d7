/**
 * `skein-agent doctor`: looks at everything an agent needs, one check after the other, and says what to do about what is
 * wrong. It changes nothing.
 */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { MIB } from '@skein/protocol/units.ts';
import type { AgentStatus } from '../api/status.ts';
import { readiness } from '../api/status.ts';
import { attempt } from '../attempt.ts';
import type { Config } from '../config/schema.ts';
import { formatUnit } from '../config/units.ts';
import { diskIdentity, identityPath } from '../identity/disk-identity.ts';
import type { StreamLedger } from '../outbox/port.ts';
import { systemClock } from '../system-clock.ts';
import { readBuffer } from './buffer.ts';
import { type Finding, fail, perform } from './doctor-check.ts';
import { examineEnrolled } from './doctor-enrolled.ts';
import { fetchStatus } from './local-client.ts';
import { keyStanding, tryAtRest } from './open-at-rest.ts';
import type { Settings } from './settings.ts';

/** Every check, in the order in which things depend on each other. */
export async function examine(settings: Settings, now = systemClock.now()): Promise<Finding[]> {
  const { config } = settings;
  const findings = [
    await perform('runtime', runtime),
    await perform('configuration', () => settings.file ?? 'no file: defaults and environment'),
    await perform('state directory', () => stateDirectory(config.stateDir)),
    await perform('identity', () => identityOf(config)),
    await perform('encryption', () => encryptionOf(config)),
  ];
  const identity = attempt(() => diskIdentity(config.stateDir).load());
  if (identity) findings.push(...(await examineEnrolled(config, identity, now)));
  findings.push(await perform('buffer', () => bufferOf(config)));
  findings.push(await perform('agent', () => running(config)));
  return findings;
}

async function runtime(): Promise<string> {
  const loading = import('../inference/onnx-runtime.ts').then(({ loadRuntime }) => loadRuntime());
  await loading.catch((cause: Error) =>
    fail(`onnxruntime does not load: ${cause.message}`, 'Install the package for this platform again.'),
  );
  return `Node ${process.version}, onnxruntime loads, ${process.platform}-${process.arch}`;
}

function stateDirectory(path: string) {
  if (!existsSync(path)) fail(`${path} does not exist`, 'It is made by `skein-agent enroll`.');
  accessSync(path, constants.R_OK | constants.W_OK);
  const { bavail, bsize, blocks } = statfsSync(path);
  const free = `${path}: ${Math.round((bavail * bsize) / MIB)} MiB free`;
  if (bavail / blocks >= 0.05) return free;
  return { warning: `${free}, less than 5%`, fix: 'Free space: a full disk makes the agent drop records.' };
}

function identityOf({ stateDir }: Config) {
  const identity = diskIdentity(stateDir).load();
  if (!identity)
    throw new SkeinError('NOT_ENROLLED', 'this device is not enrolled', {
      fix: 'Run `skein-agent enroll --server URL --token TOKEN` with a token of `skein tokens create`.',
    });
  const mode = statSync(identityPath(stateDir)).mode & 0o777;
  if ((mode & 0o077) === 0) return `${identity.device} of fleet ${identity.fleet}`;
  const fix = `chmod 600 ${identityPath(stateDir)}`;
  return { warning: `others may read the private keys (mode ${mode.toString(8)})`, fix };
}

async function encryptionOf(config: Config) {
  const { from, beside, outside } = keyStanding(config);
  if (outside) return outside;
  const opened = await tryAtRest(config);
  if (!from) return 'off: whoever takes the disk reads the buffer and the models';
  if (beside) return beside;
  if (config.atRest.write === 'plain') return `being switched off at the next start; key from ${from}`;
  return opened
    ? `on: the key from ${from} opens the buffer and the models`
    : `on from the next start; ${from} gives a key`;
}

async function bufferOf(config: Config) {
  const found = await readBuffer(config).catch((thrown) => {
    if (asSkeinError(thrown).code === 'UNREACHABLE') return undefined;
    throw thrown;
  });
  if (!found) return 'none yet: it is made when the agent first runs';
  const { from, lossWindowMs, streams } = found;
  const sum = (of: (stream: StreamLedger) => number): number => streams.reduce((n, each) => n + of(each), 0);
  const [pending, unknown, refused] = [sum((s) => s.pending), sum((s) => s.unknown), sum((s) => s.refused)];
  const window = formatUnit('duration', lossWindowMs);
  const said = `${pending} records wait (${from}), ${sum((s) => s.dropped)} dropped; a power cut loses at most ${window}`;
  if (unknown + refused === 0) return said;
  return {
    warning: `${said}; ${unknown} unknown after damage, ${refused} refused because no disk took them`,
    fix: 'Check the disk; `skein-agent buffer` lists the ranges.',
  };
}

async function running(config: Config) {
  let status: AgentStatus;
  try {
    status = await fetchStatus(config);
  } catch (thrown) {
    return { warning: asSkeinError(thrown).message, fix: asSkeinError(thrown).fix ?? '' };
  }
  const { ready, reason } = readiness(status);
  if (!status.connected)
    return { warning: 'runs, not connected to the broker', fix: 'See the checks above.' };
  return ready
    ? `runs and is ready: ${reason}`
    : { warning: `runs, not ready: ${reason}`, fix: 'Wait, or start a rollout.' };
}
