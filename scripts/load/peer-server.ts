/** What a user would write: fastify and onnxruntime-node, bytes in, bytes out. `peer-server.ts MODEL` */

import { fastify } from 'fastify';
import * as ort from 'onnxruntime-node';

const session = await ort.InferenceSession.create(process.argv[2]!, {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
});
const app = fastify({ logger: false });
app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
  done(null, body),
);
app.post('/predict', async (request, reply) => {
  const body = request.body as Buffer;
  const x = new Float32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength));
  const { prob } = await session.run({ x: new ort.Tensor('float32', x, [x.length / 128, 128]) });
  const data = prob!.data as Float32Array;
  return reply
    .type('application/octet-stream')
    .send(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
});
const address = await app.listen({ host: '127.0.0.1', port: 0 });
process.stdout.write(`${JSON.stringify({ ready: true, port: Number(new URL(address).port) })}\n`);
process.on('SIGTERM', () => process.exit(0));
