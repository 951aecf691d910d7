/**
 * How finely each metric is told, in decimal places: what lies below says nothing about a device, and every digit of
 * noise is paid for on the wire. Declared here and nowhere else; whatever is not named has {@link OTHER}.
 */
import type { Metrics } from './probe.ts';

const OTHER = 4;

/** Shares of one to a tenth of a percent, °C to a tenth, rates that are logarithms to a hundredth. */
const PLACES: Readonly<Record<string, number>> = {
  ...places(3, 'cpu mem_available disk_free gpu cpu_user cpu_system cpu_iowait cpu_steal cpu_busy'),
  ...places(3, 'mem_used mem_cached mem_anon mem_dirty psi_cpu psi_memory psi_io disk_busy'),
  ...places(2, 'load_per_cpu running_per_cpu blocked interrupts switches forks tasks faults major_faults'),
  ...places(2, 'disk_reads disk_read_bytes disk_writes disk_write_bytes net_rx_bytes net_rx_packets'),
  ...places(2, 'net_tx_bytes net_tx_packets lo_bytes loop_p99_ms power_w'),
  ...places(1, 'temp_c rss_mb'),
  ...places(0, 'disk_free_mb uptime_s fds'),
};

function places(digits: number, names: string): Record<string, number> {
  return Object.fromEntries(names.split(' ').map((name) => [name, digits]));
}

/** The metrics as they are told; those that are not finite are left out. */
export const atResolution = (metrics: Metrics): Metrics =>
  Object.fromEntries(
    Object.entries(metrics)
      .filter(([, value]) => Number.isFinite(value))
      .map(([name, value]) => {
        const unit = 10 ** (PLACES[name] ?? OTHER);
        return [name, Math.round(value * unit) / unit];
      }),
  );
