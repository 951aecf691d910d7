/** The configured sinks with their adapters. */
import { dirname, resolve } from 'node:path';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import type { SinkConfig } from '../config/sinks.ts';
import { childTransport } from '../sinks/child-sink.ts';
import { webhookTransport } from '../sinks/http-webhook.ts';
import { mqttTransport } from '../sinks/mqtt-sink.ts';
import type { Transport } from '../sinks/port.ts';
import { queuedSink } from '../sinks/queued-sink.ts';
import type { ConfiguredSink } from '../sinks/run-sinks.ts';
import { filesOf } from './files-of.ts';

export interface SinkParts {
  clock: Clock;
  entropy: Entropy;
  boot: string;
}

/** Messages of one write to a command. */
const LINES_AT_ONCE = 64;

/** @param configFile relative files are meant from its folder. */
export const openSinks = (
  sinks: readonly SinkConfig[],
  configFile: string | undefined,
  parts: SinkParts,
): ConfiguredSink[] =>
  sinks.map((config) => {
    const { kind, model, name, only, queue: queueLimit } = config;
    const batch = { mqtt: 1, webhook: config.batch, command: Math.min(LINES_AT_ONCE, queueLimit) }[kind];
    return {
      kind,
      filter: { model, only },
      open: (trouble) =>
        queuedSink(
          { name, queueLimit, batch },
          { ...parts, trouble },
          transportOf(config, base(configFile), parts),
        ),
    };
  });

const base = (configFile: string | undefined): string => resolve(configFile ? dirname(configFile) : '.');

function transportOf(config: SinkConfig, folder: string, { clock, entropy, boot }: SinkParts): Transport {
  const { name, url = '', topic = '', retain, batch, timeout: timeoutMs, command = '' } = config;
  const files = filesOf(config, folder);
  switch (config.kind) {
    case 'mqtt':
      return mqttTransport({
        ...files,
        clock,
        entropy,
        name,
        url,
        topic,
        retain,
        qos: config.qos === 1 ? 1 : 0,
      });
    case 'webhook':
      return webhookTransport({ ...files, url, timeoutMs, batch, boot }, clock);
    case 'command':
      return childTransport(command, { clock, entropy });
    default:
      return config.kind satisfies never;
  }
}
