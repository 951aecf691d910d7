/**
 * `npm run release [-- --arch amd64,arm64] [--out dist/release] [--fast]`: the agent's Debian packages, each with its
 * own Node, only its platform's machine code, and no source. The same commit gives the same bytes with the same tools.
 * Exit code 1 when a package is larger than promised. `--fast` compresses weakly, for trying things out.
 */
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ARCHITECTURES, architectureOf } from './release/architectures.ts';
import { describeSize, sizesOf } from './release/budgets.ts';
import { type BuiltPackage, buildPackage } from './release/build-package.ts';

const ROOT = join(import.meta.dirname, '..');

function report(built: BuiltPackage): boolean {
  const { arch, runtime } = built;
  const symbols = runtime.strippedWith
    ? `stripped with ${runtime.strippedWith}`
    : `not stripped: install llvm or binutils (${arch.gnuStrip})`;
  process.stdout.write(`${relative(process.cwd(), built.file)}\n  Node ${runtime.version}, ${symbols}\n`);
  const sizes = sizesOf(built);
  for (const line of sizes) process.stdout.write(`${describeSize(arch.deb, line)}\n`);
  return sizes.every((line) => line.holds !== false);
}

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      arch: { type: 'string', default: ARCHITECTURES.map((each) => each.deb).join(',') },
      out: { type: 'string', default: join(ROOT, 'dist', 'release') },
      fast: { type: 'boolean', default: false },
    },
  });
  const wanted = values.arch.split(',').map(architectureOf);
  let holds = true;
  for (const arch of wanted) {
    process.stdout.write(`Building for ${arch.deb}…\n`);
    const compression = values.fast ? 'fast' : 'small';
    holds = report(await buildPackage({ arch, out: resolve(values.out), compression })) && holds;
  }
  return holds ? 0 : 1;
}
