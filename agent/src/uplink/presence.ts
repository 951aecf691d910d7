/**
 * What people and tools see of this device: status, hello, reported, state, event, update.
 *
 * Live only: nothing is kept for later except the last value of what is retained, because a broker may have been
 * wiped; it is published anew on every connect, `status` first. A publish that fails is not repeated: the next
 * connect, or the next value, replaces it.
 */
import type {
  EventMessage,
  HelloMessage,
  StateMessage,
  StatusMessage,
  UpdateMessage,
} from '@skein/protocol/messages.ts';
import type { Log } from '@skein/protocol/ports.ts';
import type { Channel } from '@skein/protocol/topics.ts';
import type { Link } from './link.ts';

export interface PresenceDeps {
  link: Link;
  /** Random per start of the agent. */
  boot: string;
  agentVersion: string;
  hello(): HelloMessage;
  /** The signed `reported` envelope. */
  reported?(): Uint8Array;
  log: Log;
}

export interface Presence {
  /** Something that `hello` or `reported` says has changed. */
  introduce(): void;
  state(message: StateMessage): void;
  event(message: EventMessage): void;
  update(message: UpdateMessage): void;
  /** Offline on purpose; resolves when the broker knows, or can not be told. */
  goodbye(): Promise<void>;
}

/** Of `status`: also what the broker says for us when the connection breaks. */
export const statusMessage = (
  online: boolean,
  session: string,
  { boot, agentVersion }: Pick<PresenceDeps, 'boot' | 'agentVersion'>,
): StatusMessage => ({ online: online ? 1 : 0, session, boot, agentVersion });

export function createPresence(deps: PresenceDeps): Presence {
  const { link, log } = deps;
  const last = new Map<'state' | 'update', string>();

  const publish = async (channel: Channel, payload: Uint8Array | string): Promise<void> => {
    if (!link.connected) return;
    await link
      .publish(channel, payload)
      .catch((error: Error) => log.info('not published', { channel, error: error.message }));
  };
  const introduce = (): void => {
    void publish('hello', JSON.stringify(deps.hello()));
    if (deps.reported) void publish('reported', deps.reported());
  };
  link.onConnect(() => {
    void publish('status', JSON.stringify(statusMessage(true, link.session, deps)));
    introduce();
    for (const [channel, payload] of last) void publish(channel, payload);
  });
  const retain = (channel: 'state' | 'update', message: StateMessage | UpdateMessage): void => {
    const payload = JSON.stringify(message);
    last.set(channel, payload);
    void publish(channel, payload);
  };

  return {
    introduce,
    state: (message) => retain('state', message),
    update: (message) => retain('update', message),
    event: (message) => void publish('event', JSON.stringify(message)),
    goodbye: () => publish('status', JSON.stringify(statusMessage(false, link.session, deps))),
  };
}
