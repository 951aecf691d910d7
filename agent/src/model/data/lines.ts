/** Text in pieces to lines, which end in LF or CRLF. A byte order mark is dropped. Pure. */
import { refuse } from './samples.ts';

export interface Line {
  /** From 1. */
  number: number;
  text: string;
}

export class LineSplitter {
  readonly #where: string;
  readonly #maxCharacters: number;
  readonly #decoder = new TextDecoder();
  #open = '';
  #number = 1;

  constructor(where: string, maxCharacters: number) {
    this.#where = where;
    this.#maxCharacters = maxCharacters;
  }

  /** @throws SkeinError SOURCE_INVALID for a line beyond the limit, before it is kept */
  push(bytes: Uint8Array): Line[] {
    const parts = (this.#open + this.#decoder.decode(bytes, { stream: true })).split('\n');
    this.#open = parts.pop()!;
    const lines = parts.map((text) => this.#line(text));
    this.#bound(this.#open);
    return lines;
  }

  end(): Line[] {
    const rest = this.#open + this.#decoder.decode();
    this.#open = '';
    return rest === '' ? [] : [this.#line(rest)];
  }

  #line(text: string): Line {
    this.#bound(text);
    return { number: this.#number++, text: text.endsWith('\r') ? text.slice(0, -1) : text };
  }

  #bound(text: string): void {
    if (text.length > this.#maxCharacters)
      throw refuse(
        `${this.#where} line ${this.#number}`,
        `longer than ${this.#maxCharacters} characters`,
        'Is this the right kind of file? Its name says how it is read.',
      );
  }
}
