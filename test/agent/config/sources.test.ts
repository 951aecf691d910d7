import { describe, expect, it } from 'vitest';
import { parseYaml } from '../../../agent/src/cli/yaml-file.ts';
import { configKeys } from '../../../agent/src/config/keys.ts';
import { parseConfig } from '../../../agent/src/config/parse.ts';

const parse = (text: string) => parseConfig(parseYaml(text, 'agent.yaml'), {});
/** One source a line, so that lines can be told apart. */
const source = (keys: string) =>
  `sources:\n  - name: s\n    model: m\n    ${keys.split('; ').join('\n    ')}\n`;

describe('the configuration of a source', () => {
  it('is as short as its kind lets it be', () => {
    const [mqtt] = parse(source('kind: mqtt; url: mqtt://localhost; topic: a/+/b/#')).sources;
    expect(mqtt).toMatchObject({ qos: 0, stallAfter: 30_000 });
    expect(parse(source('kind: http')).sources[0]!.url).toBeUndefined();
    expect(parse(source('kind: host; period: 5min')).sources[0]!.stallAfter).toBe(900_000);
  });

  it.each([
    [
      'kind: mqtt; url: mqtt://h',
      'agent.yaml:2: sources.0: a source of kind mqtt needs `topic`',
      /Add `topic`/,
    ],
    ['kind: mqtt; topic: a', 'sources.0: a source of kind mqtt needs `url`', /Add `url`/],
    ['kind: command', 'a source of kind command needs `command`', /Add/],
    [
      'kind: csv; path: x.csv; topic: a',
      'agent.yaml:6: sources.0.topic: does nothing for a source of kind csv; it is for mqtt',
      /takes: name, kind, model, stallAfter, period, path, loop, timeColumn, speed\./,
    ],
    ['kind: command; command: x; period: 1s', 'agent.yaml:6: sources.0.period: does nothing', /Remove it/],
    [
      'kind: mqtt; url: mqtt://h; topic: a/#/b',
      'agent.yaml:6: sources.0.topic: is no topic filter: “#”',
      /comes last/,
    ],
    ['kind: mqtt; url: mqtt://h; topic: a/b+', 'sources.0.topic: is no topic filter: “b+”', /whole level/],
    ['kind: mqtt; url: mqtt://h; topic: a; qos: 2', 'agent.yaml:7: sources.0.qos: must be <= 1', /config/],
    [
      'kind: mqtt; url: http://h; topic: a',
      'agent.yaml:5: sources.0.url: must begin with mqtt:// or mqtts://',
      /Like/,
    ],
    ['kind: mqtt; url: mqtt://; topic: a', 'sources.0.url: must begin with', /Like/],
    ['kind: mqtt; url: mqtt://h:99999; topic: a', 'sources.0.url: must begin with', /Like/],
    [
      'kind: mqtt; url: mqtt://me:secret@h; topic: a',
      'sources.0.url: must not hold a user or password',
      /name that file in `credentials`/,
    ],
    ['kind: mqtt; url: mqtt://h; topic: a; ca: x.pem', 'sources.0.ca: does nothing without TLS', /mqtts:/],
    [
      'kind: mqtt; url: mqtts://h; topic: a; key: x',
      '`certificate` and `key` go together',
      /Add `certificate`/,
    ],
    ['kind: mqtt; url: mqtts://h; topic: a; password: x', 'sources.0.password: is not a key', /Known here/],
    [
      'kind: http; period: 5s',
      'agent.yaml:5: sources.0.period: does nothing without `url`',
      /POST \/v1\/readings/,
    ],
    ['kind: http; url: ftp://h', 'sources.0.url: must begin with http:// or https://', /Like/],
    [
      'kind: http; url: http://h/x; values: {a: b}',
      'sources.0.values: a: “b” is no path',
      /\$\.sensor\.temp/,
    ],
    ['kind: http; values: [a]', 'sources.0.values: must be a map of feature to path', /config/],
    ['kind: http; values: {a: 1}', 'sources.0.values', /config/],
    ['kind: csv; path: x; speed: 2', 'sources.0.speed: does nothing without `timeColumn`', /timeColumn/],
    [
      'kind: csv; path: x; timeColumn: t; period: 1s',
      'sources.0.period: does nothing with `timeColumn`',
      /speed/,
    ],
    [
      'kind: host; period: 1min; stallAfter: 30s',
      'sources.0.stallAfter: must be longer than `period`',
      /Leave it out/,
    ],
  ])('that cannot work says where, what and how instead: %s', (keys, message, fix) => {
    expect(() => parse(source(keys))).toThrow(message);
    try {
      parse(source(keys));
    } catch (error) {
      expect(error).toMatchObject({ code: 'CONFIG_INVALID', fix: expect.stringMatching(fix) });
      expect((error as Error).message).not.toContain('secret');
    }
  });

  it('says in the list of keys which kind reads which', () => {
    const topic = configKeys().find((key) => key.key === 'sources[].topic');
    expect(topic!.description).toMatch(/^For mqtt\. /);
  });
});
