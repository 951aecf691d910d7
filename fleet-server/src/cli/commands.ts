/** `skein server|login|tokens|devices|drift|audit`: one call to the API each, printed. */
import type { DriftView, TokenView } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Millis, parseDuration } from '@skein/protocol/units.ts';
import type { Command } from 'commander';
import { addAuditCommands } from './audit.ts';
import type { CliContext } from './client.ts';
import { addDeviceCommands, commaList } from './devices.ts';
import { column } from './table.ts';

export function addServerCommands(program: Command, ctx: CliContext): void {
  program
    .command('server')
    .description('The server itself')
    .command('status')
    .description('What this server is and whether devices can enrol')
    .action(async () => ctx.print(await (await ctx.api()).call('server')));
  program
    .command('login')
    .description('Make a link that opens the dashboard; it works once')
    .action(async () => {
      const link = await (await ctx.api()).call('loginLink', { body: {} });
      if (ctx.output === 'json') ctx.print(link);
      else process.stdout.write(`${link.url}\n`);
    });
  addTokenCommands(program.command('tokens').description('Claim tokens: how devices join the fleet'), ctx);
  addDeviceCommands(program.command('devices').description('Devices of the fleet'), ctx);
  addDriftCommand(program, ctx);
  addAuditCommands(program, ctx);
}

function durationOf(text: string): Millis {
  const millis = parseDuration(text);
  if (millis !== undefined) return millis;
  throw new SkeinError('REQUEST_INVALID', `${text} is not a duration`, {
    fix: 'Write a number with its unit: 30s, 10min, 24h or 7d.',
  });
}

function addTokenCommands(tokens: Command, ctx: CliContext): void {
  tokens
    .command('create')
    .description('Make a claim token; it is shown once')
    .option('--uses <n>', 'devices that may enrol with it', '1')
    .option('--ttl <duration>', 'valid for this long: 10min, 24h, 7d', '24h')
    .option('--groups <names>', 'groups the devices join, comma-separated', '')
    .action(async (options: { uses: string; ttl: string; groups: string }) => {
      const api = await ctx.api();
      const body = {
        uses: Number(options.uses),
        ttlMs: durationOf(options.ttl),
        groups: commaList(options.groups),
      };
      const token = await api.call('createToken', { body });
      if (ctx.output === 'json') return ctx.print(token);
      const { deviceUrl } = await api.call('server');
      const until = new Date(token.expiresAt).toISOString();
      process.stdout.write(
        `${token.token}\n\n${token.usesLeft} use(s), until ${until}. On the device:\n` +
          `  skein-agent enroll --server ${deviceUrl} --token ${token.token}\n`,
      );
    });
  tokens
    .command('list')
    .description('Claim tokens, newest first')
    .action(async () => {
      const rows = await (await ctx.api()).all('listTokens');
      ctx.print<TokenView>(rows, {
        columns: [
          column('ID', (t) => t.id),
          column('USES LEFT', (t) => `${t.usesLeft} of ${t.usesTotal}`, 'right'),
          column('EXPIRES', (t) => new Date(t.expiresAt).toISOString()),
          column('GROUPS', (t) => t.groups.join(',')),
        ],
      });
    });
}

function addDriftCommand(program: Command, ctx: CliContext): void {
  program
    .command('drift')
    .description('Which inputs no longer look like the reference, for the fleet or one device')
    .option('--model <name>', 'only this model')
    .option('--device <id>', 'only this device')
    .action(async (query: { model?: string; device?: string }) => {
      const { items } = await (await ctx.api()).call('drift', { query });
      if (ctx.output === 'json') return ctx.print<DriftView>(items);
      if (items.length === 0) {
        process.stdout.write('no drift windows yet: a device reports one when its window is full\n');
      }
      for (const view of items) printDrift(view, ctx);
    });
}

function printDrift(view: DriftView, ctx: CliContext): void {
  process.stdout.write(`${view.model}@${view.version}: ${view.verdict}, ${view.windows} window(s)\n`);
  const number = (value: number | null, digits = 3) => (value === null ? '–' : value.toFixed(digits));
  ctx.print(
    [...view.features].sort((a, b) => a.p - b.p),
    {
      columns: [
        column('FEATURE', (f) => f.name),
        column('VERDICT', (f) => f.verdict),
        column('P', (f) => number(f.p, 4), 'right'),
        column('Z LOCATION', (f) => number(f.zLocation, 2), 'right'),
        column('Z SCALE', (f) => number(f.zScale, 2), 'right'),
        column('PSI', (f) => number(f.psi), 'right'),
        column('N', (f) => f.n, 'right'),
        column('DETECTABLE SHIFT', (f) => number(f.minimumDetectableShift, 2), 'right'),
      ],
    },
  );
}
