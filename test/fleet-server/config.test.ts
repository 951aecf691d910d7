import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveConfig, SETTINGS } from '@skein/fleet-server/config.ts';
import { readConfigFile } from '@skein/fleet-server/disk-config.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { afterAll, describe, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'skein-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const parse = (text: string, env: Record<string, string> = {}) => {
  const path = join(folder, 'server.yaml');
  writeFileSync(path, text);
  return resolveConfig(readConfigFile(path), env);
};
const refusal = (work: () => unknown): SkeinError => {
  try {
    work();
  } catch (error) {
    if (error instanceof SkeinError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
};

describe('the configuration', () => {
  it('has a default for every key', () => {
    const config = resolveConfig(undefined, {});
    expect(Object.keys(config)).toEqual(Object.keys(SETTINGS));
    expect(config).toMatchObject({ fleet: 'home', httpHost: '127.0.0.1', httpPort: 8080, devicePort: 8443 });
  });

  it('takes the file, and the environment before the file', () => {
    const config = parse('fleet: lab\nhttpPort: 9000\nmaxPacket: 512KiB\n', { SKEIN_HTTP_PORT: '0' });
    expect(config).toMatchObject({ fleet: 'lab', httpPort: 0, maxPacket: 524_288 });
  });

  it.each([
    [
      'a misspelt key',
      'fleet: lab\nhtpPort: 80\n',
      /server\.yaml:2: htpPort is not a key; did you mean httpPort\?/,
    ],
    ['a key of nothing alike', 'colour: blue\n', /server\.yaml:1: colour is not a key$/],
    ['a port that is none', 'fleet: lab\n\nhttpPort: 70000\n', /server\.yaml:3: httpPort must be a port/],
    ['a port in words', 'httpPort: eighty\n', /httpPort must be a port, 0 to 65535, not "eighty"/],
    ['a size without a unit', 'maxPacket: 1000\n', /maxPacket must be a size such as 64KiB/],
    ['a size in a wrong unit', 'maxPacket: 1MB\n', /maxPacket must be a size such as 64KiB/],
    ['a number where text belongs', 'fleet: 5\n', /fleet must be text/],
    ['a fleet that is no topic level', 'fleet: Lab/1\n', /fleet must be lower-case letters/],
    ['a url with a path', 'publicUrl: https://x.example/app\n', /publicUrl must be like https/],
    ['a key twice', 'fleet: a\nfleet: b\n', /server\.yaml:2: /],
    ['broken YAML', 'fleet: [a\n', /server\.yaml:\d: /],
    ['a list', '- fleet\n', /server\.yaml:1: must be a map of keys/],
  ])('refuses %s, with line, key and what to write', (_what, text, message) => {
    const error = refusal(() => parse(text));
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toMatch(message);
    expect(error.fix).toMatch(/\w/);
  });

  it('names the variable when the environment is wrong', () => {
    const error = refusal(() => resolveConfig(undefined, { SKEIN_MQTT_PORT: 'x' }));
    expect(error.message).toBe('SKEIN_MQTT_PORT: mqttPort must be a port, 0 to 65535, not "x"');
  });

  it('says which file can not be read', () => {
    expect(refusal(() => readConfigFile(join(folder, 'nowhere.yaml')))).toMatchObject({
      code: 'CONFIG_UNREADABLE',
    });
  });
});
