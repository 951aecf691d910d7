/**
 * Keep-alive clients on bare sockets, each with one request under way: `clients.ts PORT oip|raw COUNT MS`. The request
 * is made once and sent again and again, the answer is looked at and counted, so that the load costs less than what it measures.
 * What comes before this process's own code is warm is not counted: it would hold a fast server back more than a slow one.
 */
import { connect } from 'node:net';

const [port, kind, count, ms] = process.argv.slice(2) as [string, 'oip' | 'raw', string, string];

function requestBytes(): Buffer {
  const tensor = Buffer.from(new Float32Array(128).map((_, i) => 1000 + i).buffer);
  const input = {
    name: 'x',
    shape: [1, 128],
    datatype: 'FP32',
    parameters: { binary_data_size: tensor.length },
  };
  const outputs = [{ name: 'prob', parameters: { binary_data: true } }];
  const json = kind === 'oip' ? Buffer.from(JSON.stringify({ inputs: [input], outputs })) : Buffer.alloc(0);
  const path = kind === 'oip' ? '/v2/models/gas/infer' : '/predict';
  const more = kind === 'oip' ? `Inference-Header-Content-Length: ${json.length}\r\n` : '';
  const head = `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n${more}Content-Length: ${json.length + tensor.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), json, tensor]);
}

const OK = Buffer.from('HTTP/1.1 200 ');

/** Length of the whole answer; a server answers the same request with as many bytes each time. */
function answerLength(bytes: Buffer): number {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) throw new Error('the first part of an answer has no whole head');
  return end + 4 + Number(/content-length: (\d+)/i.exec(bytes.toString('latin1', 0, end))![1]);
}

const request = requestBytes();
const times: number[] = [];
const WARM_MS = 200;
const begin = performance.now() + WARM_MS;
const end = begin + Number(ms);

/** Reads into memory of its own (`onread`): a stream's machinery would cost the load more than some servers their work. */
const client = (): Promise<void> =>
  new Promise((resolve, reject) => {
    let expected = 0;
    let received = 0;
    let sent = 0;
    const send = () => {
      received = 0;
      sent = performance.now();
      socket.write(request);
    };
    const read = (bytes: number, buffer: Uint8Array): boolean => {
      if (received === 0 && OK.compare(buffer, 0, OK.length) !== 0) reject(new Error(buffer.toString()));
      expected ||= answerLength(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
      received += bytes;
      if (received < expected) return true;
      const now = performance.now();
      if (sent >= begin) times.push((now - sent) * 1000);
      if (received > expected) reject(new Error(`${received} bytes came for ${expected}`));
      else if (now < end) send();
      else resolve(void socket.destroy());
      return true;
    };
    const onread = { buffer: Buffer.alloc(16_384), callback: read };
    const socket = connect({ port: Number(port), host: '127.0.0.1', onread }).setNoDelay(true);
    socket.on('connect', send);
    socket.on('error', reject);
  });

await Promise.all(Array.from({ length: Number(count) }, client));
times.sort((a, b) => a - b);
const perSecond = (times.length / Number(ms)) * 1000;
process.stdout.write(`${JSON.stringify({ ready: true, perSecond, p50Us: times[times.length >> 1] })}\n`);
