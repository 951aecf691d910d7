/**
 * `npm run train`: trains, quantizes and packs the host model from the committed recording, reproducibly.
 * Version 1.1.0 has a wider bottleneck; it is there to be rolled out.
 */
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { writeBundle } from '@skein/agent/model/disk-bundle.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type HostModelOptions, trainHostModel } from './train/host-model.ts';
import { readRecording } from './train/recording.ts';

const DIRECTORY = join(import.meta.dirname, '..', 'models', 'host');

const VERSIONS: (HostModelOptions & { directory: string })[] = [
  {
    directory: 'bundle',
    version: '1.0.0',
    description: 'How unusual this machine behaves: autoencoder over 5 s of its own metrics',
    hidden: [48, 12, 48],
    epochs: 40,
    seed: 1,
  },
  {
    directory: 'bundle-1.1.0',
    version: '1.1.0',
    description: 'As 1.0.0 with a wider bottleneck: reconstructs busy machines more closely',
    hidden: [64, 16, 64],
    epochs: 40,
    seed: 2,
  },
];

/** A new recording replaces the committed one first: plain CSV is compressed, without a time stamp inside. */
function adopt(recording: string): void {
  const target = join(DIRECTORY, 'recording.csv.gz');
  if (recording.endsWith('.gz')) copyFileSync(recording, target);
  else writeFileSync(target, gzipSync(readFileSync(recording), { level: 9 }));
}

/** @param args optionally a new recording, CSV or gzipped CSV. */
export async function run(args: readonly string[]): Promise<number> {
  if (args[0]) adopt(args[0]);
  const path = join(DIRECTORY, 'recording.csv.gz');
  if (!existsSync(path)) {
    throw new SkeinError('CONFIG_UNREADABLE', `${path} is missing`, {
      fix: 'Give a recording: npm run train -- FILE.csv',
    });
  }
  const segments = readRecording(path);
  const seconds = segments.reduce((sum, segment) => sum + segment.length, 0);
  console.log(`${seconds} s recorded in ${segments.length} pieces`);
  for (const { directory, ...options } of VERSIONS) {
    const started = performance.now();
    const { bundle, report, holdout } = await trainHostModel(segments, options, (epoch, loss) => {
      process.stdout.write(
        `\r${options.version}: epoch ${epoch + 1}/${options.epochs}, loss ${loss.toFixed(4)} `,
      );
    });
    await writeBundle(bundle, join(DIRECTORY, directory));
    const took = ((performance.now() - started) / 1000).toFixed(0);
    console.log(
      `\n  holdout MSE median ${holdout.median.toFixed(3)}, p99.9 ${holdout.p999.toFixed(3)}; ${took} s`,
    );
    for (const variant of report.variants) {
      console.log(`  ${variant.id}: ${variant.sizeBytes} bytes, accuracy ${variant.accuracy}`);
    }
    const q = report.quantization;
    if (q)
      console.log(
        `  int8: ${q.sqnrDb.toFixed(1)} dB by ${q.method}, p50 ${q.p50Us.int8.toFixed(0)} µs (float ${q.p50Us.float.toFixed(0)} µs)`,
      );
  }
  return 0;
}
