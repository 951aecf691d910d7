/** Warnings as data: what can be wrong with a device, how bad it is and what a person should do. */
export const SEVERITIES = ['notice', 'warning', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

export interface WarningKind {
  severity: Severity;
  /** One sentence; the event's own `detail` gives the figures. */
  text: string;
  fix: string;
}

export const WARNINGS = {
  SOURCE_STALLED: {
    severity: 'warning',
    text: 'A source has delivered no reading within its limit.',
    fix: 'Check the sensor or command behind the source; the agent restarts it by itself.',
  },
  SINK_FAILING: {
    severity: 'warning',
    text: 'A sink beside the outbox has delivered nothing for a minute.',
    fix: 'Check who should take its messages; `skein-agent status` says what stands in the way.',
  },
  MODEL_FAILING: {
    severity: 'critical',
    text: 'The running model fails or returns values that are not finite.',
    fix: 'Roll back, or look at the last update report of the device.',
  },
  BACKEND_UNAVAILABLE: {
    severity: 'warning',
    text: 'An execution backend (sidecar or inference server) does not answer or can not take models.',
    fix: 'Start its service and look at its log; models with a variant for another backend go on with that one.',
  },
  DRIVER_MISMATCH: {
    severity: 'warning',
    text: 'The driver of an accelerator does not fit the library that its backend uses.',
    fix: 'Install driver and runtime library of the same release, then restart the backend’s service.',
  },
  VARIANT_FALLBACK: {
    severity: 'notice',
    text: 'A model runs as its stand-in variant, because the backend of the chosen one is not usable.',
    fix: 'Repair the backend; the agent returns to the chosen variant by itself.',
  },
  INPUT_NOT_FINITE: {
    severity: 'notice',
    text: 'Readings with NaN or infinite values were left out.',
    fix: 'Check the sensor; see drift for which feature is missing.',
  },
  PICTURES_INVALID: {
    severity: 'warning',
    text: 'Pictures of a source could not be decoded.',
    fix: 'Look at one of its files or frames; check the format and the frame size in the configuration.',
  },
  UPDATE_FAILED: {
    severity: 'warning',
    text: 'A model update was refused or reverted; the last good model runs.',
    fix: 'Read the reason in the update report and publish a corrected version.',
  },
  DRIFT: {
    severity: 'warning',
    text: 'Inputs or outputs no longer look like the reference.',
    fix: 'Open the drift page: one device means its sensor, many devices mean the world changed.',
  },
  TEMPERATURE_HIGH: {
    severity: 'warning',
    text: 'The processor is close to its thermal limit.',
    fix: 'Improve cooling or lower the load.',
  },
  MEMORY_LOW: {
    severity: 'warning',
    text: 'Little memory is available.',
    fix: 'Stop other programs on the device or choose a smaller model.',
  },
  DISK_LOW: {
    severity: 'warning',
    text: 'The disk that holds the buffer is nearly full.',
    fix: 'Free space; when it is full the agent keeps inferring and drops by the configured policy.',
  },
  LOAD_HIGH: {
    severity: 'notice',
    text: 'The processors have more work than they can do.',
    fix: 'Look at what else runs on the device.',
  },
  POWER_LOW: {
    severity: 'warning',
    text: 'The board is not given enough power.',
    fix: 'Use a stronger power supply and a short, thick cable; under-voltage slows the board and wears its card.',
  },
  CLOCK_UNTRUSTED: {
    severity: 'notice',
    text: 'The wall clock is behind the last time this device has seen.',
    fix: 'Set up time synchronisation; readings are re-dated once the clock is trusted.',
  },
  OUTBOX_DROPPING: {
    severity: 'warning',
    text: 'The buffer reached its cap and drops records by policy; the ranges are recorded.',
    fix: 'Restore the connection or raise the cap.',
  },
  OUTBOX_DAMAGED: {
    severity: 'critical',
    text: 'The buffer was damaged and replaced; what could not be read is unknown, in the ranges that are named.',
    fix: 'Check the disk. `skein-agent buffer` lists the ranges; the damaged file lies beside the new one.',
  },
  IDENTITY_CLONED: {
    severity: 'critical',
    text: 'Two devices use the same identity.',
    fix: 'Revoke the device and enrol each copy by itself.',
  },
  BATCH_FORGED: {
    severity: 'critical',
    text: 'Batches came under this device’s name that it did not sign.',
    fix: 'Find out who holds its TLS key; revoke the device and enrol it anew.',
  },
  BATCH_INVALID: {
    severity: 'warning',
    text: 'The device sends batches that can not be read; they are not stored.',
    fix: 'Update its agent; look at what else publishes under its name.',
  },
  BATCHES_MISSING: {
    severity: 'warning',
    text: 'Records of a device are missing and it has not said why; what comes after them is not taken.',
    fix: 'Look at `skein-agent buffer` on the device: its outbox was damaged or changed by hand.',
  },
  DEVICE_FLOODING: {
    severity: 'warning',
    text: 'The device sends more than it may; the server takes it more slowly, without harm to others.',
    fix: 'Look at the rate of its sources and its batch interval; raise deviceBatchRate or deviceByteRate if it is right.',
  },
  METADATA_STALE: {
    severity: 'notice',
    text: 'Signed metadata has not been refreshed for a day; no update will be installed.',
    fix: 'Check that the device reaches the server on its device port.',
  },
} as const satisfies Record<string, WarningKind>;

export type WarningCode = keyof typeof WARNINGS;
export const WARNING_CODES = Object.keys(WARNINGS) as WarningCode[];
