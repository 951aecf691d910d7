/** The configured sources with their adapters. */
import { dirname, resolve } from 'node:path';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import { KIB, MIB } from '@skein/protocol/units.ts';
import type { SourceOf } from '../config/schema.ts';
import { MAX_PICTURE } from '../config/sources.ts';
import { childCommand } from '../sources/child-command.ts';
import { commandSource, lineReader } from '../sources/command-source.ts';
import { directorySource } from '../sources/directory-source.ts';
import { fileLines, stdinLines } from '../sources/disk-lines.ts';
import { diskPictures } from '../sources/disk-pictures.ts';
import { jpegReader } from '../sources/frames/jpeg.ts';
import { rawReader } from '../sources/frames/raw.ts';
import { y4mReader } from '../sources/frames/y4m.ts';
import { httpAsk } from '../sources/http-ask.ts';
import { mappingOf } from '../sources/json-rows.ts';
import { linuxHostSource } from '../sources/linux-host-source.ts';
import { mqttSource } from '../sources/mqtt-source.ts';
import { payloadReader, type ReadPayload } from '../sources/payload.ts';
import { pictureIn } from '../sources/picture-bytes.ts';
import { pollSource } from '../sources/poll-source.ts';
import type { Source } from '../sources/port.ts';
import type { PushDoor } from '../sources/push-door.ts';
import { MAX_WAITING, pushSource } from '../sources/push-source.ts';
import { RECORDING_FORMATS, type RecordingFormat } from '../sources/recordings.ts';
import { replaySource } from '../sources/replay-source.ts';
import type { ConfiguredSource } from '../sources/run-sources.ts';
import { filesOf } from './files-of.ts';

export interface SourceParts {
  clock: Clock;
  entropy: Entropy;
  /** Where sources of kind http take what is pushed. */
  door: PushDoor;
}

/** @param configFile relative files are meant from its folder. */
export const openSources = (
  sources: readonly SourceOf[],
  configFile: string | undefined,
  parts: SourceParts,
): ConfiguredSource[] =>
  sources.map((source) => ({
    kind: source.kind,
    model: source.model,
    source: openSource(source, configFile ? dirname(configFile) : '.', parts),
  }));

function openSource(config: SourceOf, base: string, parts: SourceParts): Source {
  const { name, period: periodMs, stallAfter: stallAfterMs, path = '', command = '' } = config;
  const { clock } = parts;
  const common = { name, stallAfterMs };
  switch (config.kind) {
    case 'host':
      return linuxHostSource({ ...common, periodMs }, clock);
    case 'csv':
    case 'gas':
    case 'jsonl':
      return recording(config, config.kind, () => fileLines(resolve(base, path)), clock);
    case 'stdin':
      return recording({ ...config, period: 0, loop: false }, 'jsonl', stdinLines, clock);
    case 'command':
      return commandSource(
        { ...common, waits: true },
        parts,
        childCommand(command),
        lineReader(mappingOf(config.values)),
      );
    case 'mqtt':
      return openMqtt(config, base, parts);
    case 'http':
      return config.url === undefined ? openPush(config, parts) : openPoll(config, config.url, base, parts);
    case 'frames':
      return commandSource({ ...common, waits: false }, parts, childCommand(command), frameReader(config));
    case 'images':
      return openImages(config, resolve(base, path), clock);
    case 'snapshots':
      return openSnapshots(config, base, parts);
    default:
      return config.kind satisfies never;
  }
}

function recording(
  config: SourceOf,
  format: RecordingFormat,
  lines: () => AsyncIterable<string>,
  clock: Clock,
) {
  const { name, stallAfter: stallAfterMs, period: periodMs, loop, speed = 1, timeColumn, values } = config;
  const mapping = mappingOf(values);
  return replaySource({ name, stallAfterMs, periodMs, loop, speed }, clock, lines, () =>
    RECORDING_FORMATS[format](timeColumn, mapping),
  );
}

function openMqtt(config: SourceOf, base: string, parts: SourceParts): Source {
  const {
    name,
    stallAfter: stallAfterMs,
    url = '',
    topic = '',
    values,
    maxSize: maxBytes = 64 * KIB,
  } = config;
  const qos = config.qos === 1 ? 1 : 0;
  const options = {
    ...filesOf(config, base),
    ...parts,
    name,
    stallAfterMs,
    url,
    topic,
    qos,
    maxBytes,
  } as const;
  return mqttSource(options, payloadReader({ maxBytes, maxRows: 1, mapping: mappingOf(values) }));
}

const bodyReader = ({ values, maxSize: maxBytes = MIB }: SourceOf): ReadPayload =>
  payloadReader({ maxBytes, maxRows: MAX_WAITING, mapping: mappingOf(values) });

const openPush = (config: SourceOf, { clock, door }: SourceParts): Source =>
  pushSource({ name: config.name, stallAfterMs: config.stallAfter }, clock, door, bodyReader(config));

function openPoll(config: SourceOf, url: string, base: string, parts: SourceParts): Source {
  const {
    name,
    period: periodMs,
    stallAfter: stallAfterMs,
    timeout: timeoutMs,
    maxSize: maxBytes = MIB,
  } = config;
  const question = { url, timeoutMs, maxBytes, ...filesOf(config, base) };
  const read = bodyReader(config);
  return pollSource({ name, periodMs, stallAfterMs }, parts, async (stopped) =>
    read(await httpAsk(question, stopped), name),
  );
}

function frameReader({ format, width = 1, height = 1, pixels = 'rgb24', maxSize = MAX_PICTURE }: SourceOf) {
  if (format === 'rawvideo') return rawReader({ format: pixels, width, height });
  return format === 'y4m' ? y4mReader(maxSize) : jpegReader(maxSize);
}

function openImages(config: SourceOf, folder: string, clock: Clock): Source {
  const {
    name,
    period: periodMs,
    stallAfter: stallAfterMs,
    loop,
    watch,
    maxSize: maxBytes = MAX_PICTURE,
  } = config;
  return directorySource(
    { name, periodMs, stallAfterMs, loop, watch, maxBytes },
    clock,
    diskPictures(folder),
  );
}

function openSnapshots(config: SourceOf, base: string, parts: SourceParts): Source {
  const { name, period: periodMs, stallAfter: stallAfterMs, timeout: timeoutMs, url = '' } = config;
  const question = { url, timeoutMs, maxBytes: config.maxSize ?? MAX_PICTURE, ...filesOf(config, base) };
  return pollSource({ name, periodMs, stallAfterMs }, parts, async (stopped) => {
    const picture = pictureIn(await httpAsk(question, stopped), name);
    return [{ values: {}, picture }];
  });
}
