/** The configured sources with their adapters. */
import { dirname, resolve } from 'node:path';
import type { Clock } from '@skein/protocol/ports.ts';
import type { SourceConfig } from '../config.ts';
import { childCommand } from '../sources/child-command.ts';
import { commandSource } from '../sources/command-source.ts';
import { fileLines, stdinLines } from '../sources/disk-lines.ts';
import { linuxHostSource } from '../sources/linux-host-source.ts';
import type { Source } from '../sources/port.ts';
import { RECORDING_FORMATS } from '../sources/recordings.ts';
import { replaySource } from '../sources/replay-source.ts';
import type { ConfiguredSource } from '../sources/run-sources.ts';

/** @param configFile relative recordings are meant from its folder. */
export const openSources = (
  sources: readonly SourceConfig[],
  configFile: string | undefined,
  clock: Clock,
): ConfiguredSource[] =>
  sources.map((source) => ({
    kind: source.kind,
    model: source.model,
    source: openSource(source, configFile ? dirname(configFile) : '.', clock),
  }));

function openSource(config: SourceConfig, base: string, clock: Clock): Source {
  const { name, period, stallAfter, loop, path = '', command = '' } = config;
  const common = { name, stallAfterMs: stallAfter };
  const file = resolve(base, path);
  switch (config.kind) {
    case 'host':
      return linuxHostSource({ ...common, periodMs: period }, clock);
    case 'csv':
    case 'gas':
    case 'jsonl': {
      const options = { ...common, periodMs: period, loop };
      return replaySource(options, clock, () => fileLines(file), RECORDING_FORMATS[config.kind]);
    }
    case 'stdin': {
      const options = { ...common, periodMs: 0, loop: false };
      return replaySource(options, clock, stdinLines, RECORDING_FORMATS.jsonl);
    }
    case 'command':
      return commandSource(common, clock, childCommand(command));
    default:
      return config.kind satisfies never;
  }
}
