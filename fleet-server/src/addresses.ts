/** Where the server is reached, as devices and people are told. Known in full only once every port is open. */
import type { Config } from './config.ts';

export interface Ports {
  http: number;
  device: number;
  /** Absent with an external broker. */
  mqtts?: number;
  mqtt?: number;
}

export interface Addresses {
  publicUrl: string;
  deviceUrl: string;
  mqttUrl: string;
}

export const publicHostOf = ({ publicUrl }: Config): string =>
  publicUrl ? new URL(publicUrl).hostname : 'localhost';

/** Names that the server's certificate must be good for. */
export const certifiedHosts = (config: Config): string[] => [
  ...new Set([publicHostOf(config), 'localhost', '127.0.0.1', '::1']),
];

export function addressesOf(config: Config, ports: Ports): Addresses {
  const host = publicHostOf(config);
  return {
    publicUrl: config.publicUrl || `http://localhost:${ports.http}`,
    deviceUrl: `https://${host}:${ports.device}`,
    mqttUrl: config.brokerUrl || `mqtts://${host}:${ports.mqtts}`,
  };
}
