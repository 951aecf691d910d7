/** What the device says about itself, sampled. */

/**
 * Flat numbers; a metric that the machine does not have is absent. Shares are 0…1.
 * `cpu` busy share · `mem_available`, `disk_free` shares left · `disk_free_mb` · `load_per_cpu` · `temp_c` hottest zone ·
 * `uptime_s` · `rss_mb`, `fds` of the agent · `loop_p99_ms` event-loop delay since the last sample ·
 * boards: `undervoltage`, `throttled` (0/1), `gpu` busy share, `power_w`.
 */
export type Metrics = Record<string, number>;

export interface Probe {
  /** @throws never: what cannot be read is absent. */
  sample(): Metrics;
  close(): void;
}
