/** A fleet's certificates, and the process that has its blobs. */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { x509Identity } from '@skein/agent/identity/x509-identity.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { openX509Authority } from '@skein/fleet-server/fleet/x509-authority.ts';
import type { Carried, Fleet, FromOrigin, OriginStart, ToOrigin } from './wire.ts';

export async function newFleet(folder: string): Promise<Fleet> {
  const authority = await openX509Authority(folder, systemClock);
  const { tlsKey: key, csr } = await x509Identity.newTlsKey();
  const { certificate } = await authority.signDevice(csr, 'd-bench');
  return { ca: authority.ca, server: await authority.serverTls(['127.0.0.1']), device: { certificate, key } };
}

/** The origin's process, with questions and answers one after the other. */
export class Origin {
  readonly #child: ChildProcess;
  url = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(start: OriginStart): Promise<Origin> {
    const origin = new Origin(fork(join(import.meta.dirname, 'origin.ts')));
    const answer = await origin.#ask({ type: 'start', start });
    if (answer.type !== 'ready') throw new Error('the origin did not start');
    origin.url = `https://127.0.0.1:${answer.port}`;
    return origin;
  }

  #ask(question: ToOrigin): Promise<FromOrigin> {
    const answer = new Promise<FromOrigin>((done) => this.#child.once('message', done as never));
    this.#child.send(question);
    return answer;
  }

  tell = (question: ToOrigin): Promise<FromOrigin> => this.#ask(question);

  async carried(): Promise<Carried> {
    const answer = await this.#ask({ type: 'carried' });
    if (answer.type !== 'carried') throw new Error('the origin lost count');
    return answer.carried;
  }

  stop(): void {
    this.#child.disconnect();
  }
}
