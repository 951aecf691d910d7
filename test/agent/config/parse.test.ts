import { describe, expect, it } from 'vitest';
import { parseYaml } from '../../../agent/src/cli/yaml-file.ts';
import { configKeys } from '../../../agent/src/config/keys.ts';
import { parseConfig } from '../../../agent/src/config/parse.ts';
import { formatUnit, parseUnit } from '../../../agent/src/config/units.ts';

const parse = (text: string, env: Record<string, string> = {}) =>
  parseConfig(parseYaml(text, 'agent.yaml'), env);

describe('a configuration', () => {
  it('says for all models and for single ones how they run, and which are compared', () => {
    const config = parse(
      'inference:\n  providers: [cuda, cpu]\n  models:\n    resnet: {placement: worker, threads: 2}\nshadows:\n  - {model: gas, challenger: gas-next}\n',
    );
    expect(config.inference).toMatchObject({
      placement: 'auto',
      providers: ['cuda', 'cpu'],
      maxBatch: 32,
      queue: 64,
      timeout: 30_000,
      nonFinite: 'reject',
      models: { resnet: { placement: 'worker', threads: 2 } },
    });
    expect(config.shadows).toEqual([{ model: 'gas', challenger: 'gas-next', cpuBudget: 0.2 }]);
  });

  it.each([
    ['shadows: [{model: a, challenger: a}]', 'can not challenge itself'],
    ['shadows: [{model: a, challenger: c}, {model: b, challenger: c}]', 'challenges another model already'],
    [
      'inference: {models: {a: {placement: gpu}}}',
      'inference.models.a.placement: must be one of auto, inline',
    ],
    ['inference: {providers: []}', 'inference.providers'],
    ['atRest: {file: a, credential: b}', 'atRest.file: cannot stand beside credential'],
    ['atRest: {command: []}', 'atRest.command'],
    ['atRest: {credential: ../b}', 'atRest.credential: must be the name of a credential'],
    ['atRest: {write: plain}', 'atRest.write: needs `credential`, `command` or `file` beside it'],
    ['atRest: {previous: {file: a}}', 'atRest.previous: needs `credential`'],
    [
      'atRest: {file: a, previous: {file: a, command: [b]}}',
      'atRest.previous.file: cannot stand beside command',
    ],
    ['atRest: {fille: a}', 'did you mean file'],
    ['outbox: {sampling: {gas: {keep: every}}}', 'outbox.sampling.gas: keep: every needs `every`'],
    [
      'outbox: {sampling: {gas: {keep: share, share: 0.1, below: 1}}}',
      'outbox.sampling.gas.below: does nothing with keep: share',
    ],
    [
      'outbox: {policies: {health: keep-alarms}}',
      'outbox.policies.health: must be one of oldest, downsample',
    ],
  ])('refuses %s', (text, words) => {
    expect(() => parse(text)).toThrow(words);
  });

  it('says for each stream what it may hold and what goes first, and for a model what is recorded', () => {
    const { outbox } = parse(
      'outbox:\n  ages: {predictions: 30d}\n  policies: {predictions: downsample}\n  sampling:\n    gas: {keep: notable, below: 0.6, atLeast: 5min}\n',
    );
    expect(outbox).toMatchObject({
      ages: { predictions: 30 * 86_400_000 },
      policies: { predictions: 'downsample', health: 'oldest', events: 'oldest' },
      sampling: { gas: { keep: 'notable', below: 0.6, atLeast: 300_000 } },
    });
  });

  it('of an empty file is all defaults: this machine’s metrics, loopback, lan', () => {
    expect(parse('')).toMatchObject({
      stateDir: '/var/lib/skein-agent',
      profile: 'lan',
      sources: [{ name: 'host', kind: 'host', model: 'host', period: 1000, stallAfter: 30_000 }],
      outbox: { commitInterval: 10_000, caps: { predictions: 256 * 2 ** 20 } },
      uplink: { batchInterval: 60_000, keepAlive: 60_000, state: true },
      update: { pollInterval: 6 * 3_600_000 },
      api: { host: '127.0.0.1', port: 9700, grpc: true },
    });
  });

  it('takes what the profiles decide, and what is written over them', () => {
    const config = parse('profile: metered\nstorage: sd\nuplink:\n  batchInterval: 2s\n');
    expect(config.outbox.commitInterval).toBe(60_000);
    expect(parse('storage: sd\n').uplink.batchInterval).toBe(300_000);
    expect(config.uplink).toEqual({
      batchInterval: 2000,
      keepAlive: 900_000,
      format: 'compact',
      driftInterval: 6 * 3_600_000,
      state: false,
    });
  });

  it('names backends as it likes, each with defaults, on this machine only', () => {
    const at = (url: string) => parse(`backends:\n  hailo:\n    url: ${url}\n`);
    expect(at('unix:/run/h.sock').backends.hailo).toEqual({
      url: 'unix:/run/h.sock',
      load: 'sidecar',
      timeout: 30_000,
      loadTimeout: 1_800_000,
      connections: 4,
    });
    expect(at('http://127.0.0.1:8000').backends.hailo!.url).toBe('http://127.0.0.1:8000');
    expect(() => at('http://10.0.0.1:8000')).toThrow(
      'agent.yaml:3: backends.hailo.url: must be unix:/run/NAME.sock or http://127.0.0.1:PORT',
    );
    expect(() => parse('backends:\n  hailo:\n    ulr: x\n')).toThrow('did you mean url?');
    expect(() => parse('backends:\n  "Big One":\n    url: unix:/a\n')).toThrow('must be a name of a-z');
    expect(() => parse('backends:\n  onnxruntime:\n    url: unix:/a\n')).toThrow('the agent’s own backend');
    expect(() => parse('backends:\n  hailo: 5\n')).toThrow('agent.yaml:2: backends.hailo');
    expect(configKeys().map(({ key }) => key)).toContain('backends.NAME.timeout');
  });

  it('is overridden by the environment, which is named when it is wrong', () => {
    const env = {
      SKEIN_AGENT_PORT: '0',
      SKEIN_AGENT_STATE_DIR: '/tmp/x',
      SKEIN_AGENT_UPLINK_STATE: 'false',
      SKEIN_AGENT_OUTBOX_COMMIT_INTERVAL: '500ms',
      SKEIN_AGENT_TAGS: 'gpu, fan',
      SKEIN_HTTP_PORT: '1',
    };
    const config = parse('api:\n  port: 1234\n', env);
    expect(config).toMatchObject({ api: { port: 0 }, stateDir: '/tmp/x', tags: ['gpu', 'fan'] });
    expect(config.uplink.state).toBe(false);
    expect(config.outbox.commitInterval).toBe(500);
    expect(() => parse('', { SKEIN_AGENT_PORT: 'nine' })).toThrow(
      'SKEIN_AGENT_PORT: api.port: must be integer',
    );
    expect(() => parse('', { SKEIN_AGENT_PROT: '1' })).toThrow('did you mean SKEIN_AGENT_PORT?');
  });

  it.each([
    [
      'uplink:\n  batchInterval: fast\n',
      'agent.yaml:2: uplink.batchInterval: must be a duration such as 250ms',
    ],
    ['\nuplink:\n  keepAlive: 60\n', 'agent.yaml:3: uplink.keepAlive: must be a duration'],
    ['uplink:\n  batchInterval: 1ms\n', 'agent.yaml:2: uplink.batchInterval: must be >= 100'],
    [
      'outbox:\n  caps:\n    health: 3 parsecs\n',
      'agent.yaml:3: outbox.caps.health: must be a size such as 64KiB',
    ],
    ['profile: wlan\n', 'agent.yaml:1: profile: must be one of lan, metered'],
    ['api:\n  port: 70000\n', 'agent.yaml:2: api.port: must be <= 65535'],
    ['api: 9700\n', 'agent.yaml:1: api: must be object'],
    [
      'uplink:\n  batchIntervall: 1s\n',
      'agent.yaml:2: uplink.batchIntervall: is not a key; did you mean batchInterval?',
    ],
    ['zzz: 1\n', 'agent.yaml:1: zzz: is not a key'],
    [
      'sources:\n  - name: a\n    kind: host\n    model: M!\n',
      'agent.yaml:4: sources.0.model: must be a name of',
    ],
    ['sources:\n  - name: a\n    model: m\n', 'agent.yaml:2: sources.0'],
    [
      'sources:\n  - {name: a, kind: csv, model: m}\n',
      'agent.yaml:2: sources.0: a source of kind csv needs `path`',
    ],
    [
      'sources:\n  - {name: a, kind: host, model: m}\n  - {name: a, kind: host, model: m}\n',
      'agent.yaml:3: sources.1.name: a is used twice',
    ],
    ['a: [1,\n', 'agent.yaml:2'],
    ['profile: lan\nprofile: lan\n', 'agent.yaml:2: Map keys must be unique'],
    ['- 1\n', 'agent.yaml:1: must be a map of keys'],
  ])('that is wrong names file, line and key: %j', (text, message) => {
    expect(() => parse(text)).toThrow(message);
    try {
      parse(text);
    } catch (error) {
      expect(error).toMatchObject({ code: 'CONFIG_INVALID', fix: expect.stringMatching(/\w/) });
    }
  });

  it('refuses a file that is not configuration by its size, and alias bombs', () => {
    expect(() => parse('#'.repeat(300_000))).toThrow('longer than 262144 characters');
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
      .split('')
      .map((c, i) => `${c}: &${c} [${Array(9).fill(`*${'abcdefg'[i]}`).join(',')}]`)
      .join('\n')}`;
    expect(() => parse(bomb)).toThrow(/agent.yaml: .*alias/);
  });

  it('documents every key with its unit, default and variable', () => {
    const keys = configKeys();
    expect(keys.every((key) => key.description.length > 0)).toBe(true);
    expect(keys.find((key) => key.key === 'uplink.batchInterval')).toMatchObject({
      variable: 'SKEIN_AGENT_UPLINK_BATCH_INTERVAL',
      values: 'duration',
    });
  });
});

describe('units', () => {
  it('are read and written the same', () => {
    for (const text of ['250ms', '10s', '5min', '6h', '7d'])
      expect(formatUnit('duration', parseUnit('duration', text)!)).toBe(text);
    for (const text of ['512B', '64KiB', '64MiB', '2GiB'])
      expect(formatUnit('size', parseUnit('size', text)!)).toBe(text);
    expect(parseUnit('duration', '1.5s')).toBe(1500);
    expect(parseUnit('duration', '10m')).toBeUndefined();
    expect(parseUnit('duration', 10)).toBeUndefined();
    expect(parseUnit('size', '10MB')).toBeUndefined();
  });
});
