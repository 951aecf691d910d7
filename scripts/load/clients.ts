/**
 * Keep-alive clients on bare sockets, each with one request under way: `clients.ts PORT oip|raw COUNT MS`. The request
 * is made once and sent again and again, the answer is only counted, so that the load costs less than what it measures.
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

/** Length of the whole answer whose first bytes are `bytes`; undefined while its head is not whole. */
function answerLength(bytes: Buffer): number | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = bytes.toString('latin1', 0, end);
  if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(bytes.toString());
  return end + 4 + Number(/content-length: (\d+)/i.exec(head)![1]);
}

const request = requestBytes();
const times: number[] = [];
const end = performance.now() + Number(ms);

const client = (): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = connect(Number(port), '127.0.0.1').setNoDelay(true);
    let held: Buffer = Buffer.alloc(0);
    let sent = 0;
    const send = () => {
      sent = performance.now();
      socket.write(request);
    };
    socket.on('connect', send);
    socket.on('error', reject);
    socket.on('data', (part: Buffer) => {
      held = held.length === 0 ? part : Buffer.concat([held, part]);
      const length = answerLength(held);
      if (length === undefined || held.length < length) return;
      held = Buffer.alloc(0);
      const now = performance.now();
      times.push((now - sent) * 1000);
      if (now < end) send();
      else resolve(void socket.destroy());
    });
  });

await Promise.all(Array.from({ length: Number(count) }, client));
times.sort((a, b) => a - b);
const perSecond = (times.length / Number(ms)) * 1000;
process.stdout.write(`${JSON.stringify({ ready: true, perSecond, p50Us: times[times.length >> 1] })}\n`);
