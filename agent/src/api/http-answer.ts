/** Answers as HTTP/1.1 messages. No Date is sent: a device's clock may be wrong (RFC 9110, 6.6.1). */
import type { Socket } from 'node:net';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { HttpProblem, type HttpRequest } from './http-head.ts';

export interface HttpAnswer {
  status: number;
  type: string;
  body: string | Uint8Array;
  /** Further fields; names and values are ours, never a client's. */
  headers?: Readonly<Record<string, string>>;
}

const REASONS: Record<number, string> = {
  200: 'OK',
  202: 'Accepted',
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

function headOf({ status, type, headers }: HttpAnswer, length: Bytes, keepAlive: boolean): string {
  let head = `HTTP/1.1 ${status} ${REASONS[status] ?? 'Unknown'}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n`;
  for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
  return `${head}${keepAlive ? '' : 'Connection: close\r\n'}\r\n`;
}

/** The latest head: answers of one model to one client mostly have it in common. */
let latest: (Omit<HttpAnswer, 'body'> & { length: Bytes; keepAlive: boolean; bytes: Buffer }) | undefined;

function headBytes(answer: HttpAnswer, length: Bytes, keepAlive: boolean): Buffer {
  const { status, type, headers } = answer;
  const same =
    latest?.length === length &&
    latest.headers === headers &&
    latest.type === type &&
    latest.status === status &&
    latest.keepAlive === keepAlive;
  if (same) return latest!.bytes;
  const bytes = Buffer.from(headOf(answer, length, keepAlive), 'latin1');
  latest = { status, type, ...(headers && { headers }), length, keepAlive, bytes };
  return bytes;
}

/** One write a request: a head and a body apart cost a system call more. */
export function send(
  socket: Socket,
  answer: HttpAnswer,
  { method, keepAlive }: Pick<HttpRequest, 'method' | 'keepAlive'>,
) {
  const body = typeof answer.body === 'string' ? Buffer.from(answer.body, 'utf8') : answer.body;
  const head = headBytes(answer, body.length, keepAlive);
  if (method === 'HEAD' || body.length === 0) return socket.write(head);
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.set(head, 0);
  bytes.set(body, head.length);
  return socket.write(bytes);
}

/** For what keeps a request from being read: an HttpProblem, or memory that is not there. */
export function problemAnswer(problem: unknown): HttpAnswer {
  const type = 'application/json';
  const told = (status: number, code: string, message: string, fix?: string): HttpAnswer => ({
    status,
    type,
    body: `${JSON.stringify({ error: `${code}: ${message}`, code, fix })}\n`,
  });
  if (problem instanceof HttpProblem) {
    const { status, message } = problem;
    return told(status, status === 413 ? 'PAYLOAD_TOO_LARGE' : 'REQUEST_INVALID', message);
  }
  const { code, message, fix } = asSkeinError(problem);
  return told(503, code, message, fix);
}
