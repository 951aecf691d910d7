/**
 * Words that batches are made of, as CBOR writes them (the byte 0x60 + length, then the text): what deflate may refer to
 * before anything was said. Part of the layout `SKB2`, published in BATCH.md: a changed word is a new layout.
 * What is not among them costs its own bytes and nothing else.
 */
const WORDS = `
new update end incident report event type id before after code severity start_time end_time detail kind
SOURCE_STALLED SINK_FAILING MODEL_FAILING DRIFT TEMPERATURE_HIGH MEMORY_LOW DISK_LOW LOAD_HIGH UPDATE_FAILED
notice warning critical started downloaded preflighted probation committed unproven refused reverted cancelled
order rollout outcome reason loaded golden passed total inferences errors notFinite p95LatencyUs
not-enough-data calm drift confidence
cpu_user cpu_user:diff cpu_system cpu_system:diff cpu_iowait cpu_iowait:diff cpu_steal cpu_steal:diff cpu_busy cpu_busy:diff
load_per_cpu load_per_cpu:diff running_per_cpu running_per_cpu:diff blocked blocked:diff interrupts interrupts:diff
switches switches:diff forks forks:diff tasks tasks:diff mem_used mem_used:diff mem_cached mem_cached:diff
mem_anon mem_anon:diff mem_dirty mem_dirty:diff faults faults:diff major_faults major_faults:diff psi_cpu psi_cpu:diff
psi_memory psi_memory:diff psi_io psi_io:diff disk_reads disk_reads:diff disk_read_bytes disk_read_bytes:diff
disk_writes disk_writes:diff disk_write_bytes disk_write_bytes:diff disk_busy disk_busy:diff net_rx_bytes net_rx_bytes:diff
net_rx_packets net_rx_packets:diff net_tx_bytes net_tx_bytes:diff net_tx_packets net_tx_packets:diff lo_bytes lo_bytes:diff
output:score name counts missing outside min max
ts mono boot model version profile window n charts verdict
unusual usual true false source label score alarm latency_us count
cpu_system cpu_iowait cpu_steal cpu_busy running_per_cpu blocked interrupts switches forks tasks mem_used mem_cached
mem_anon mem_dirty faults major_faults psi_cpu psi_memory psi_io disk_reads disk_read_bytes disk_writes disk_write_bytes
disk_busy net_rx_bytes net_rx_packets net_tx_bytes net_tx_packets lo_bytes
undervoltage throttled gpu power_w
ts mono boot metrics cpu mem_available load_per_cpu temp_c disk_free disk_free_mb rss_mb fds loop_p99_ms uptime_s
1.0.0 1.1.0 host ts mono boot source model version label score alarm latency_us`;

export const DICTIONARY: Uint8Array = new TextEncoder().encode(
  WORDS.trim()
    .split(/\s+/)
    .map((word) => String.fromCharCode(0x60 + word.length) + word)
    .join(''),
);
