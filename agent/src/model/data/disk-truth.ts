/**
 * Known classes from a file of their own: a .csv with the header `file,label` names pictures; else one class a sample in
 * order, as text or .csv (one a line), IDX, .npy or .u8 (class numbers). Limit: 10,000,000 classes.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { RecordReader } from './delimited.ts';
import { readColumn } from './disk-arrays.ts';
import { innerName, isZipped } from './disk-bytes.ts';
import { LineSplitter } from './lines.ts';
import { type DataSet, type Entry, refuse } from './samples.ts';

const MAX_CLASSES = 10_000_000;
const MAX_BYTES = 2 ** 28;

type Truth = { byName: Map<string, string> } | { inOrder: string[] };

async function textRows(path: string): Promise<string[][]> {
  if ((await stat(path)).size > MAX_BYTES) throw refuse(path, 'larger than 256 MiB');
  const raw = await readFile(path);
  const bytes = isZipped(path) ? gunzipSync(raw, { maxOutputLength: MAX_BYTES }) : raw;
  const splitter = new LineSplitter(basename(path), 1 << 20);
  const reader = new RecordReader(basename(path));
  const rows = [...splitter.push(bytes), ...splitter.end()].flatMap((line) => {
    const row = reader.push(line);
    return row ? [row.cells] : [];
  });
  reader.end();
  return rows;
}

async function readTruth(path: string): Promise<Truth> {
  if (!(await stat(path).catch(() => undefined))?.isFile())
    throw refuse(path, 'does not exist', 'Check the path of the known classes.');
  const name = innerName(path).toLowerCase();
  if (/\.npy$|ubyte$|\.idx$|\.u8$/.test(name))
    return { inOrder: (await readColumn(path, MAX_CLASSES)).map(String) };
  if (!/\.(csv|tsv|txt)$/.test(name))
    throw refuse(
      path,
      'the kind of file is not known',
      'Give known classes as .csv, .txt, .npy, IDX or .u8.',
    );
  const rows = await textRows(path);
  const [first] = rows;
  if (!first) throw refuse(path, 'the file is empty');
  const header = first.map((cell) => cell.trim().toLowerCase());
  const [file, label] = [
    ['file', 'filename', 'path', 'image'],
    ['label', 'truth', 'class'],
  ].map((names) => header.findIndex((cell) => names.includes(cell)));
  const cellsAt = (column: number, from: number) =>
    rows.slice(from).map((row, i) => {
      const cell = row[column]?.trim();
      if (!cell) throw refuse(`${path} line ${i + from + 1}`, 'names no class');
      return cell;
    });
  if (first.length === 1) return { inOrder: cellsAt(0, label! >= 0 ? 1 : 0) };
  if (label! < 0) throw refuse(path, `no column \`label\`; there are ${header.join(', ')}`);
  const labels = cellsAt(label!, 1);
  return file! < 0
    ? { inOrder: labels }
    : { byName: new Map(cellsAt(file!, 1).map((n, i) => [n, labels[i]!])) };
}

/** The data with the classes of `path`. @throws SkeinError SOURCE_INVALID when there are fewer or more than samples */
export async function withTruth(data: DataSet, path: string): Promise<DataSet> {
  const truth = await readTruth(path);
  const known = 'inOrder' in truth ? truth.inOrder : undefined;
  if (known && data.count !== undefined && known.length !== data.count)
    throw refuse(path, `${known.length} classes for ${data.count} samples`, 'Give one for each sample.');
  async function* samples(): AsyncGenerator<Entry> {
    let index = 0;
    for await (const entry of data.samples()) {
      const name =
        'byName' in truth
          ? (truth.byName.get(entry.where) ?? truth.byName.get(basename(entry.where)))
          : undefined;
      const own = known ? known[index] : name;
      index++;
      yield 'problem' in entry ? entry : { ...entry, truth: own };
    }
    if (known && known.length !== index)
      throw refuse(path, `${known.length} classes for ${index} samples`, 'Give one for each sample.');
  }
  return { ...data, samples };
}
