/** Never by colour alone: filled is online, hollow offline, dashed revoked, and the word is read aloud. */
export function Liveness({ online, revoked }: { online: boolean; revoked: boolean }) {
  const word = revoked ? 'revoked' : online ? 'online' : 'offline';
  return (
    <span title={word}>
      <span class={revoked ? 'dot gone' : online ? 'dot on' : 'dot'} aria-hidden="true" />
      <span class="visually-hidden">{word}</span>
    </span>
  );
}
