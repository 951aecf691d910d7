/** `skein devices list|show|set|revoke`; `erase` is in `erase.ts`. */
import type { DeviceSummary, DeviceView } from '@skein/protocol/api.ts';
import { WARNINGS } from '@skein/protocol/warnings.ts';
import type { Command } from 'commander';
import type { CliContext } from './client.ts';
import { addEraseCommands } from './erase.ts';
import { ago, column } from './table.ts';

export const commaList = (text: string): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);

const liveness = (d: DeviceSummary): string => (d.revoked ? 'revoked' : d.online ? 'online' : 'offline');

export function addDeviceCommands(devices: Command, ctx: CliContext): void {
  devices
    .command('list')
    .description('All devices')
    .option('--group <name>', 'only those of this group')
    .action(async ({ group }: { group?: string }) => {
      const rows = await (await ctx.api()).all('listDevices', { query: group ? { group } : {} });
      const now = Date.now();
      ctx.print<DeviceSummary>(rows, {
        columns: [
          column('ID', (d) => d.id),
          column('NAME', (d) => d.name),
          column('STATE', liveness),
          column('LAST SEEN', (d) => ago(d.lastSeen, now)),
          column('MODEL', (d) => d.model ?? '–'),
          column('PREDICTIONS', (d) => d.predictions, 'right'),
          column('WARNINGS', (d) => d.warnings, 'right'),
          column('DRIFT', (d) => d.drift),
          column('GROUPS', (d) => d.groups.join(',')),
        ],
      });
    });
  devices
    .command('show <id>')
    .description('One device with its hardware, streams and incidents')
    .action(async (id: string) =>
      showDevice(ctx, await (await ctx.api()).call('showDevice', { params: { id } })),
    );
  devices
    .command('set <id>')
    .description('Name or regroup a device')
    .option('--name <name>', 'what people call it')
    .option('--groups <names>', 'comma-separated; replaces its groups')
    .action(async (id: string, options: { name?: string; groups?: string }) => {
      const body = {
        ...(options.name === undefined ? {} : { name: options.name }),
        ...(options.groups === undefined ? {} : { groups: commaList(options.groups) }),
      };
      showDevice(ctx, await (await ctx.api()).call('changeDevice', { params: { id }, body }));
    });
  devices
    .command('revoke <id>')
    .description('Refuse this device from now on and disconnect it; it must be enrolled anew')
    .action(async (id: string) =>
      ctx.print(await (await ctx.api()).call('revokeDevice', { params: { id }, body: {} })),
    );
  addEraseCommands(devices, ctx);
}

function showDevice(ctx: CliContext, device: DeviceView): void {
  if (ctx.output === 'json') ctx.print(device);
  else printDevice(ctx, device);
}

const METERED = 'batches every half hour; silence is noticed after about 23 minutes';

function printDevice(ctx: CliContext, device: DeviceView): void {
  const { streams, faults, incidents, installed: _, hello, state, update, ...rest } = device;
  const hardware = hello?.hardware;
  const reading = Object.entries(state ?? {}).filter(([key]) => !['ts', 'model', 'version'].includes(key));
  ctx.print({
    ...rest,
    groups: rest.groups.join(', '),
    lastSeen: ago(rest.lastSeen, Date.now()),
    enrolledAt: new Date(rest.enrolledAt).toISOString(),
    certificateExpiresAt: new Date(rest.certificateExpiresAt).toISOString(),
    agent: hello ? `${hello.agentVersion} on ${hello.runtime}, profile ${hello.profile}` : '–',
    ...(hello?.profile === 'metered' ? { metered: METERED } : {}),
    hardware: hardware ? `${hardware.model}, ${hardware.cpus} × ${hardware.arch}, ${hardware.os}` : '–',
    update: update ? updateText(update) : '–',
    reading: reading
      .map(([key, value]) => `${key}=${typeof value === 'number' ? Number(value.toPrecision(4)) : value}`)
      .join(' '),
  });
  process.stdout.write('\n');
  ctx.print(streams, {
    columns: [
      column('STREAM', (s) => s.stream),
      column('EPOCH', (s) => s.epoch),
      column('OBSERVED', (s) => s.observed, 'right'),
      column('NUMBERED', (s) => s.nextSeq, 'right'),
      column('STORED', (s) => s.stored, 'right'),
      column('DROPPED', (s) => s.dropped, 'right'),
      column('LOST', (s) => s.lostAtServer, 'right'),
      column('SUMS ONLY', (s) => s.expired, 'right'),
      column('UPDATED', (s) => ago(s.updatedAt, Date.now())),
    ],
  });
  const gaps = streams.flatMap(({ stream, epoch, gaps: all }) =>
    all.map((gap) => ({ stream, epoch, ...gap })),
  );
  if (gaps.length > 0) process.stdout.write('\n');
  if (gaps.length > 0) printGaps(gaps, ctx);
  if (faults.length > 0) process.stdout.write('\n');
  if (faults.length > 0) printFaults(faults, ctx);
  if (incidents.length > 0) process.stdout.write('\n');
  if (incidents.length > 0) printIncidents(incidents, ctx);
}

type Gap = DeviceView['streams'][number]['gaps'][number] & { stream: string; epoch: string };

/** Numbers that no record will come for, as the device told them. */
function printGaps(gaps: readonly Gap[], ctx: CliContext): void {
  ctx.print(gaps, {
    columns: [
      column('GAP IN', (g) => g.stream),
      column('EPOCH', (g) => g.epoch),
      column('FROM', (g) => g.from, 'right'),
      column('TO', (g) => g.to, 'right'),
      column('RECORDS', (g) => g.to - g.from + 1, 'right'),
      column('REASON', (g) => g.reason),
    ],
  });
}

function printFaults(faults: DeviceView['faults'], ctx: CliContext): void {
  ctx.print(faults, {
    columns: [
      column('BATCHES REFUSED', (f) => f.kind),
      column('COUNT', (f) => f.count, 'right'),
      column('LAST', (f) => ago(f.lastAt, Date.now())),
      column('DETAIL', (f) => f.detail),
    ],
  });
}

/** How far the device is with its update, and what it waits for. */
function updateText(update: NonNullable<DeviceView['update']>): string {
  const { installed_version: from, latest_version: to, update_percentage: percent, waiting } = update;
  if (update.in_progress === 0) return `none under way; ${from ?? 'nothing'} is installed`;
  return `${from ?? 'nothing'} → ${to}, ${percent ?? 0}%${waiting ? `; waits: ${waiting}` : ''}`;
}

function printIncidents(incidents: DeviceView['incidents'], ctx: CliContext): void {
  ctx.print(incidents, {
    columns: [
      column('INCIDENT', (i) => i.code),
      column('SEVERITY', (i) => i.severity),
      column('STARTED', (i) => new Date(i.start_time).toISOString()),
      column('ENDED', (i) => (i.end_time === null ? 'open' : new Date(i.end_time).toISOString())),
      column('DETAIL', (i) => i.detail ?? WARNINGS[i.code].text),
    ],
  });
}
