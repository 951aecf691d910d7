/**
 * The kernel's text files as one snapshot of counters (proc(5), Documentation/admin-guide/iostats,
 * Documentation/accounting/psi). A file or a line that is missing counts as zero: old kernels have no pressure
 * files, containers hide disks. Only whole disks are summed (a partition's traffic is its disk's too) and all
 * interfaces but `lo`.
 */
import type { HostCounters } from './host-rates.ts';

/** The texts of the files, `''` where absent. `temperatures` are millidegrees Celsius. */
export interface HostFiles {
  stat: string;
  meminfo: string;
  loadavg: string;
  vmstat: string;
  diskstats: string;
  netDev: string;
  pressureCpu: string;
  pressureMemory: string;
  pressureIo: string;
  temperatures: number[];
}

/** What recordings write where a machine has no thermal zone. */
export const NO_TEMPERATURE = -273;

const WHOLE_DISK = /^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+)$/;

const field = (text: string, key: string): number => {
  const match = new RegExp(`^${key}:?\\s+(\\d+)`, 'm').exec(text);
  return match ? Number(match[1]) : 0;
};

const stallTotal = (text: string, kind: 'some' | 'full'): number => {
  const match = new RegExp(`^${kind} .*total=(\\d+)`, 'm').exec(text);
  return match ? Number(match[1]) : 0;
};

const sum = (rows: number[][], column: number): number =>
  rows.reduce((total, row) => total + (row[column] ?? 0), 0);

const diskRows = (text: string): number[][] =>
  text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => WHOLE_DISK.test(fields[2] ?? ''))
    .map((fields) => fields.map(Number));

function networkRows(text: string): { wire: number[][]; loopback: number[][] } {
  const rows = [...text.matchAll(/^\s*([^:\s]+):\s*(.*)$/gm)].map((match) => ({
    name: match[1],
    values: match[2]!.trim().split(/\s+/).map(Number),
  }));
  const values = (loopback: boolean) =>
    rows.filter((row) => (row.name === 'lo') === loopback).map((row) => row.values);
  return { wire: values(false), loopback: values(true) };
}

function processors(stat: string) {
  const ticks = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '').split(' ').map(Number);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = ticks;
  return {
    cpu_user: user,
    cpu_nice: nice,
    cpu_system: system,
    cpu_idle: idle,
    cpu_iowait: iowait,
    cpu_irq: irq,
    cpu_softirq: softirq,
    cpu_steal: steal,
    intr: field(stat, 'intr'),
    ctxt: field(stat, 'ctxt'),
    processes: field(stat, 'processes'),
    procs_running: field(stat, 'procs_running'),
    procs_blocked: field(stat, 'procs_blocked'),
    cpus: Math.max(1, stat.match(/^cpu\d+ /gm)?.length ?? 0),
  };
}

const memory = (meminfo: string) => ({
  mem_total_kb: field(meminfo, 'MemTotal'),
  mem_available_kb: field(meminfo, 'MemAvailable'),
  cached_kb: field(meminfo, 'Cached'),
  dirty_kb: field(meminfo, 'Dirty'),
  anon_kb: field(meminfo, 'AnonPages'),
  slab_kb: field(meminfo, 'Slab'),
  swap_total_kb: field(meminfo, 'SwapTotal'),
  swap_free_kb: field(meminfo, 'SwapFree'),
});

const pressure = (files: HostFiles) => ({
  psi_cpu_some_us: stallTotal(files.pressureCpu, 'some'),
  psi_mem_some_us: stallTotal(files.pressureMemory, 'some'),
  psi_io_some_us: stallTotal(files.pressureIo, 'some'),
  psi_io_full_us: stallTotal(files.pressureIo, 'full'),
});

function traffic(files: HostFiles) {
  const disks = diskRows(files.diskstats);
  const { wire, loopback } = networkRows(files.netDev);
  return {
    disk_reads: sum(disks, 3),
    disk_read_sectors: sum(disks, 5),
    disk_writes: sum(disks, 7),
    disk_write_sectors: sum(disks, 9),
    disk_io_ms: sum(disks, 12),
    net_rx_bytes: sum(wire, 0),
    net_rx_packets: sum(wire, 1),
    net_tx_bytes: sum(wire, 8),
    net_tx_packets: sum(wire, 9),
    lo_rx_bytes: sum(loopback, 0),
  };
}

/** @param monoMs monotonic milliseconds at which the files were read. */
export function hostCounters(files: HostFiles, monoMs: number): HostCounters {
  const load = files.loadavg.split(' ');
  return {
    mono_ms: monoMs,
    ...processors(files.stat),
    load1: Number(load[0] || 0),
    ...memory(files.meminfo),
    ...pressure(files),
    ...traffic(files),
    pgfault: field(files.vmstat, 'pgfault'),
    pgmajfault: field(files.vmstat, 'pgmajfault'),
    tasks: Number(load[3]?.split('/')[1] ?? 0),
    temp_c: files.temperatures.length > 0 ? Math.max(...files.temperatures) / 1000 : NO_TEMPERATURE,
  };
}
