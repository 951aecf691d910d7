import type { DeviceView } from '@skein/protocol/api.ts';
import { bytes, dateTime } from '../data/format.ts';
import { RelativeTime } from '../ui/relative-time.tsx';

/** What the device said of itself when it connected, and its identity here. */
export function Hardware({ device }: { device: DeviceView }) {
  const { hello } = device;
  return (
    <section class="card" aria-labelledby="hardware-title">
      <header>
        <h2 id="hardware-title">Device</h2>
      </header>
      <dl class="pairs small">
        <dt>Id</dt>
        <dd class="mono">{device.id}</dd>
        {hello && (
          <>
            <dt>Board</dt>
            <dd>{hello.hardware.model}</dd>
            <dt>Processor</dt>
            <dd>
              {hello.hardware.cpus} × {hello.hardware.arch}
            </dd>
            <dt>Memory</dt>
            <dd>{bytes(hello.hardware.memoryBytes)}</dd>
            <dt>System</dt>
            <dd>{hello.hardware.os}</dd>
            <dt>Agent</dt>
            <dd>
              {hello.agentVersion}, {hello.runtime}, profile {hello.profile}
            </dd>
            <dt>Sources</dt>
            <dd>{hello.sources.join(', ') || 'none'}</dd>
            {hello.hardware.tags.length > 0 && (
              <>
                <dt>Tags</dt>
                <dd>{hello.hardware.tags.join(', ')}</dd>
              </>
            )}
          </>
        )}
        <dt>Enrolled</dt>
        <dd>{dateTime(device.enrolledAt)}</dd>
        <dt>Certificate</dt>
        <dd>
          expires {dateTime(device.certificateExpiresAt)} (<RelativeTime at={device.certificateExpiresAt} />)
        </dd>
      </dl>
      {!hello && <p class="muted small">The device has not connected yet, so its hardware is not known.</p>}
    </section>
  );
}
