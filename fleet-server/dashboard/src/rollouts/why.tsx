import { dateTime, timeOfDay } from '../data/format.ts';

const ISO = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;

/** The server's one line, with its UTC times in this person's clock. */
export function Why({ text }: { text: string }) {
  const pieces = text.split(ISO).map((piece, i) => (i % 2 ? <Moment key={piece} iso={piece} /> : piece));
  return <>{pieces}</>;
}

function Moment({ iso }: { iso: string }) {
  const at = Date.parse(iso);
  return (
    <time dateTime={iso} title={dateTime(at)}>
      {timeOfDay(at)}
    </time>
  );
}
