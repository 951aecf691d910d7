/**
 * The text/event-stream format (HTML standard, 9.2.6) as a pure parser: bytes come in any pieces, events go out.
 * `id` persists from event to event; lines starting with a colon are heartbeats. Bounds an event at 1 MiB.
 */
export interface ServerEvent {
  type: string;
  data: string;
}

const MAX_CHARACTERS = 1 << 20;

export class SseParser {
  lastEventId = '';
  #rest = '';
  #type = '';
  #data: string[] = [];

  /** @throws Error when one event is longer than the bound: the stream is not ours. */
  push(text: string): ServerEvent[] {
    this.#rest += text;
    if (this.#rest.length > MAX_CHARACTERS) throw new Error('An event of the server is too long.');
    const events: ServerEvent[] = [];
    // A lone \r at the end may be half of \r\n: it waits for the next piece.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line, events);
    return events;
  }

  #line(line: string, events: ServerEvent[]): void {
    if (line === '') {
      if (this.#data.length) events.push({ type: this.#type || 'message', data: this.#data.join('\n') });
      this.#type = '';
      this.#data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.lastEventId = value;
  }
}
