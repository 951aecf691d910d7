/** Reads `text/event-stream` (WHATWG HTML 9.2) from chunks of bytes; comments and unknown fields are skipped. */
export interface StreamEvent {
  id?: string;
  type: string;
  /** Parsed from the JSON in `data:`. */
  data: unknown;
}

/** An event longer than this ends the stream with an error: our server never sends one. */
const MAX_EVENT_CHARS = 1 << 20;

export async function* parseServerSentEvents(chunks: AsyncIterable<Uint8Array>): AsyncIterable<StreamEvent> {
  const decoder = new TextDecoder();
  let pending = '';
  for await (const chunk of chunks) {
    pending += decoder.decode(chunk, { stream: true });
    if (pending.length > MAX_EVENT_CHARS) throw new Error('an event of the stream is too long');
    for (let end = pending.indexOf('\n\n'); end >= 0; end = pending.indexOf('\n\n')) {
      const event = parseEvent(pending.slice(0, end));
      pending = pending.slice(end + 2);
      if (event) yield event;
    }
  }
}

function parseEvent(block: string): StreamEvent | undefined {
  const fields: Record<string, string> = {};
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    const name = line.slice(0, colon);
    fields[name] = name === 'data' && fields.data !== undefined ? `${fields.data}\n${value}` : value;
  }
  if (fields.data === undefined) return undefined;
  const event: StreamEvent = { type: fields.event ?? 'message', data: JSON.parse(fields.data) };
  if (fields.id !== undefined) event.id = fields.id;
  return event;
}
