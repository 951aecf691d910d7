import { server } from '../data/store.ts';

export function Footer() {
  const view = server.value;
  return (
    <footer class="foot">
      {view && (
        <>
          <span>Skein {view.version}</span>
          <span>Fleet {view.fleet}</span>
          <span>MQTT {view.mqtt}</span>
        </>
      )}
    </footer>
  );
}
