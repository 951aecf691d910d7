/**
 * From two snapshots of a machine's counters to the features the host model sees. Pure, so the recording that
 * the model is trained on and the live source go through the very same arithmetic.
 *
 * Every feature is relative to the machine (a fraction, a load per processor, a log rate): a model trained on one
 * board makes sense on another. A counter that went backwards (wrap, hot-unplug, clock jump) yields NaN: missing.
 */

/** Raw counters in the kernel's own units; -273 °C stands for "no thermal zone" in recordings. */
export interface HostCounters {
  mono_ms: number;
  cpu_user: number;
  cpu_nice: number;
  cpu_system: number;
  cpu_idle: number;
  cpu_iowait: number;
  cpu_irq: number;
  cpu_softirq: number;
  cpu_steal: number;
  intr: number;
  ctxt: number;
  processes: number;
  procs_running: number;
  procs_blocked: number;
  load1: number;
  cpus: number;
  mem_total_kb: number;
  mem_available_kb: number;
  cached_kb: number;
  dirty_kb: number;
  anon_kb: number;
  slab_kb: number;
  swap_total_kb: number;
  swap_free_kb: number;
  psi_cpu_some_us: number;
  psi_mem_some_us: number;
  psi_io_some_us: number;
  psi_io_full_us: number;
  disk_reads: number;
  disk_read_sectors: number;
  disk_writes: number;
  disk_write_sectors: number;
  disk_io_ms: number;
  net_rx_bytes: number;
  net_rx_packets: number;
  net_tx_bytes: number;
  net_tx_packets: number;
  lo_rx_bytes: number;
  pgfault: number;
  pgmajfault: number;
  tasks: number;
  temp_c: number;
}

type Rule = (before: HostCounters, after: HostCounters, seconds: number) => number;
type Counter = keyof HostCounters;

const grown = (before: HostCounters, after: HostCounters, key: Counter): number => {
  const delta = after[key] - before[key];
  return delta >= 0 ? delta : Number.NaN;
};

/** log10(1 + events per second): sensor rates span six decades. */
const logRate =
  (key: Counter, unit = 1): Rule =>
  (before, after, seconds) =>
    Math.log10(1 + (grown(before, after, key) * unit) / seconds);

const CPU_KEYS = [
  'cpu_user',
  'cpu_nice',
  'cpu_system',
  'cpu_idle',
  'cpu_iowait',
  'cpu_irq',
  'cpu_softirq',
  'cpu_steal',
] as const;

/** Share of all processor ticks since the last snapshot. Idle may step back by a tick on real kernels. */
const cpuShare =
  (...keys: Counter[]): Rule =>
  (before, after) => {
    const total = CPU_KEYS.reduce((sum, key) => sum + Math.max(0, after[key] - before[key]), 0);
    const part = keys.reduce((sum, key) => sum + Math.max(0, after[key] - before[key]), 0);
    return total > 0 ? part / total : Number.NaN;
  };

/** Share of the time that tasks waited for a resource (Linux pressure stall information). */
const stalled =
  (key: Counter): Rule =>
  (before, after, seconds) =>
    Math.min(1, grown(before, after, key) / (seconds * 1e6));

const memoryShare =
  (key: Counter): Rule =>
  (_before, after) =>
    after.mem_total_kb > 0 ? after[key] / after.mem_total_kb : Number.NaN;

const SECTOR_BYTES = 512;

const RULES: Record<string, Rule> = {
  cpu_user: cpuShare('cpu_user', 'cpu_nice'),
  cpu_system: cpuShare('cpu_system', 'cpu_irq', 'cpu_softirq'),
  cpu_iowait: cpuShare('cpu_iowait'),
  cpu_steal: cpuShare('cpu_steal'),
  cpu_busy: cpuShare('cpu_user', 'cpu_nice', 'cpu_system', 'cpu_irq', 'cpu_softirq'),
  load_per_cpu: (_before, after) => Math.log2(1 + after.load1 / after.cpus),
  running_per_cpu: (_before, after) => Math.log2(1 + after.procs_running / after.cpus),
  blocked: (_before, after) => Math.log2(1 + after.procs_blocked),
  interrupts: logRate('intr'),
  switches: logRate('ctxt'),
  forks: logRate('processes'),
  tasks: (_before, after) => Math.log10(1 + after.tasks),
  mem_used: (_before, after) => 1 - after.mem_available_kb / after.mem_total_kb,
  mem_cached: memoryShare('cached_kb'),
  mem_anon: memoryShare('anon_kb'),
  mem_dirty: (_before, after) => Math.log10(1 + after.dirty_kb),
  faults: logRate('pgfault'),
  major_faults: logRate('pgmajfault'),
  psi_cpu: stalled('psi_cpu_some_us'),
  psi_memory: stalled('psi_mem_some_us'),
  psi_io: stalled('psi_io_some_us'),
  disk_reads: logRate('disk_reads'),
  disk_read_bytes: logRate('disk_read_sectors', SECTOR_BYTES),
  disk_writes: logRate('disk_writes'),
  disk_write_bytes: logRate('disk_write_sectors', SECTOR_BYTES),
  disk_busy: (before, after, seconds) => Math.min(1, grown(before, after, 'disk_io_ms') / (seconds * 1000)),
  net_rx_bytes: logRate('net_rx_bytes'),
  net_rx_packets: logRate('net_rx_packets'),
  net_tx_bytes: logRate('net_tx_bytes'),
  net_tx_packets: logRate('net_tx_packets'),
  lo_bytes: logRate('lo_rx_bytes'),
};

/** Order of the model's columns. */
export const HOST_FEATURES: readonly string[] = Object.keys(RULES);

/** Features between two snapshots; NaN where they cannot be known. `seconds` must be positive or all are NaN. */
export function hostRates(before: HostCounters, after: HostCounters): Record<string, number> {
  const seconds = (after.mono_ms - before.mono_ms) / 1000;
  const usable = seconds > 0;
  return Object.fromEntries(
    Object.entries(RULES).map(([name, rule]) => [name, usable ? rule(before, after, seconds) : Number.NaN]),
  );
}
