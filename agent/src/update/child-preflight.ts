/**
 * Preflight in a process of its own, so that a model that crashes, hangs or eats memory takes nothing with it.
 * Limits: wall time; resident memory, polled from /proc and ended when over (an address-space limit would stop the
 * runtime itself); 64 KiB of output. Faults before the child says `ready` are this machine's; after it the model's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Bytes, HOUR, KIB, MIB, type Millis } from '@skein/protocol/units.ts';
import type { Compiling } from '../inference/backend.ts';
import type { OipBackendOptions } from '../inference/oip-backend.ts';
import type { Measured, Preflight, PreflightVerdict, StagedModel } from './ports.ts';
import {
  PREFLIGHT_OUTPUT_MAX,
  type PreflightLine,
  type PreflightRequest,
  parsePreflightLine,
} from './preflight-wire.ts';
import { neededBytes } from './release.ts';

export interface ChildPreflightOptions {
  wallLimitMs?: Millis;
  /** What the child may hold beside what the manifest asks for; the runtime alone takes about 110 MiB. */
  baseMemoryBytes?: Bytes;
  threads?: number;
  providers?: readonly string[];
  /** The child's program; a bundled release names its own. */
  childPath?: string;
  /** Servers that variants may name. */
  backends?: readonly OipBackendOptions[];
  /** Of the model store, where it is encrypted. */
  blobKey?: Uint8Array | undefined;
  /** A backend that compiles is outside the wall limit, but for this long at most. */
  compileLimitMs?: Millis;
}

interface Limits {
  wallLimitMs: Millis;
  compileLimitMs: Millis;
  memoryBytes: Bytes;
}

const SOURCE_CHILD = fileURLToPath(new URL('./preflight-child.ts', import.meta.url));
const encoder = new TextEncoder();
const POLL_MS: Millis = 25;
const LOW_PRIORITY = 10;

type Stopped = { code: 'MODEL_TIMEOUT' | 'MODEL_MEMORY' | 'STOPPED' | 'TOO_TALKATIVE'; detail: string };

export function childPreflight(options: ChildPreflightOptions = {}): Preflight {
  const { wallLimitMs = 60_000, baseMemoryBytes = 512 * MIB, threads = 1, providers = ['cpu'] } = options;
  const { blobKey, childPath = SOURCE_CHILD, backends = [], compileLimitMs = HOUR } = options;
  const trialOf = (models: readonly StagedModel[], compiling?: Compiling): Trial => {
    const [{ manifest, goldenPath }] = models as [StagedModel];
    const request: PreflightRequest = {
      model: manifest.name,
      variants: models.map(({ modelPath, variant }) => ({ modelPath, variant })),
      goldenPath,
      goldenSha256: manifest.golden.sha256,
      threads,
      providers,
      backends,
      ...(blobKey ? { blobKey: Buffer.from(blobKey).toString('base64') } : {}),
    };
    const memoryBytes = models.map(neededBytes).reduce((sum, bytes) => sum + bytes, baseMemoryBytes);
    return new Trial(childPath, request, { wallLimitMs, compileLimitMs, memoryBytes }, compiling);
  };
  return {
    run: (model, signal, compiling) => trialOf([model], compiling).run(signal),
    measure: (models, signal) => trialOf(models).measure(signal),
  };
}

class Trial {
  readonly #child: ChildProcess;
  readonly #limits: Limits;
  readonly #compiling: Compiling | undefined;
  #wall: NodeJS.Timeout | undefined;
  #compiles = false;
  #heard = 0;
  #output = '';
  #errors = '';
  #stopped: Stopped | undefined;

  constructor(childPath: string, request: PreflightRequest, limits: Limits, compiling?: Compiling) {
    this.#limits = limits;
    this.#compiling = compiling;
    this.#child = spawn(process.execPath, [childPath], {
      stdio: 'pipe',
      env: { PATH: process.env.PATH, LANG: 'C', NODE_NO_WARNINGS: '1' },
    });
    this.#child.stdin?.on('error', () => undefined).end(JSON.stringify(request));
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#hear(text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2 * KIB);
    });
  }

  run(signal?: AbortSignal): Promise<PreflightVerdict> {
    return this.#end(signal).then(({ startFault, code, ending }) =>
      startFault === undefined ? this.#conclude(code, ending) : notHeld(startFault),
    );
  }

  async measure(signal?: AbortSignal): Promise<Measured> {
    const { startFault, code, ending } = await this.#end(signal);
    const last = this.#lines().at(-1);
    if (last?.stage === 'measured') return { figures: last.figures };
    if (last?.stage === 'unmeasured') return { failed: last.why };
    const why = startFault ?? this.#stopped?.detail ?? `the child ended with ${ending ?? code}`;
    return { failed: why.slice(0, 200) };
  }

  async #end(signal?: AbortSignal) {
    const stop = () => this.#stop({ code: 'STOPPED', detail: 'the agent stops' });
    this.#limit(this.#limits.wallLimitMs, 'no answer');
    const poll = setInterval(() => void this.#weigh(), POLL_MS);
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
    this.#yieldToInference();
    type End = { startFault?: string; code: number | null; ending: NodeJS.Signals | null };
    return new Promise<End>((done) => {
      this.#child.once('error', ({ message }) =>
        done({ startFault: `the child can not be started: ${message}`, code: null, ending: null }),
      );
      this.#child.once('close', (code, ending) => done({ code, ending }));
    }).finally(() => {
      clearTimeout(this.#wall);
      clearInterval(poll);
      signal?.removeEventListener('abort', stop);
    });
  }

  #limit(ms: Millis, what: string): void {
    clearTimeout(this.#wall);
    this.#wall = setTimeout(
      () => this.#stop({ code: 'MODEL_TIMEOUT', detail: `${what} within ${ms} ms` }),
      ms,
    );
  }

  #hear(text: string): void {
    this.#output += text;
    if (this.#output.length > PREFLIGHT_OUTPUT_MAX) {
      const detail = `more than ${PREFLIGHT_OUTPUT_MAX} bytes of output`;
      this.#stop({ code: 'TOO_TALKATIVE', detail });
      return;
    }
    const lines = this.#lines();
    for (const line of lines.slice(this.#heard)) this.#follow(line);
    this.#heard = lines.length;
  }

  /** Compiling takes minutes and is no fault of the model: another limit holds meanwhile. */
  #follow(line: PreflightLine): void {
    const { wallLimitMs, compileLimitMs } = this.#limits;
    if (line.stage === 'compiling') {
      if (!this.#compiles) this.#limit(compileLimitMs, 'not compiled');
      this.#compiles = true;
      this.#compiling?.(line.share);
    } else if (this.#compiles) {
      this.#compiles = false;
      this.#limit(wallLimitMs, 'no answer');
    }
  }

  #stop(why: Stopped): void {
    this.#stopped ??= why;
    this.#child.kill('SIGKILL');
  }

  async #weigh(): Promise<void> {
    const bytes = await residentBytes(this.#child.pid);
    if (bytes <= this.#limits.memoryBytes) return;
    const mib = (n: Bytes) => `${Math.round(n / MIB)} MiB`;
    this.#stop({
      code: 'MODEL_MEMORY',
      detail: `${mib(bytes)} resident, ${mib(this.#limits.memoryBytes)} allowed`,
    });
  }

  #yieldToInference(): void {
    try {
      if (this.#child.pid !== undefined) setPriority(this.#child.pid, LOW_PRIORITY);
    } catch {
      // The child may be gone already; its end tells why.
    }
  }

  #conclude(code: number | null, ending: NodeJS.Signals | null): PreflightVerdict {
    const lines = this.#lines();
    const said = lines.find((line) => line.stage === 'verdict');
    if (said) return said.verdict;
    // What a server of this machine does not finish is no word on the model.
    const foreign = this.#compiles && this.#stopped?.code === 'MODEL_TIMEOUT';
    if (this.#stopped?.code === 'STOPPED' || foreign || lines.length === 0) {
      return notHeld(
        this.#stopped?.detail ??
          `the child ended with ${ending ?? code} before it was ready: ${this.#errors}`,
      );
    }
    // Nobody here sent it: the kernel took memory back from this machine.
    if (ending === 'SIGKILL' && !this.#stopped) return notHeld('the child was killed from outside');
    const stage = lines.at(-1)?.stage === 'loaded' ? 'while inferring' : 'while loading';
    const fault = this.#stopped?.code === 'TOO_TALKATIVE' ? undefined : this.#stopped;
    const why = this.#stopped?.detail ?? `ended with ${ending ?? `code ${code}`}: ${this.#errors.trim()}`;
    return {
      ok: false,
      code: fault?.code ?? 'MODEL_CRASHED',
      detail: `${stage}: ${why}`.slice(0, 500),
      loaded: null,
      golden: { passed: 0, total: 0 },
      environment: false,
    };
  }

  #lines(): PreflightLine[] {
    // The last piece may be half a line.
    const whole = this.#output.split('\n').slice(0, -1);
    const lines = whole.filter((text) => text.startsWith('{"stage":'));
    return lines.flatMap((text) => {
      try {
        return [parsePreflightLine.parse(encoder.encode(text), 'preflight')];
      } catch {
        return [];
      }
    });
  }
}

/** 0 when it can not be told: the process is gone, or this system has no /proc. */
async function residentBytes(pid: number | undefined): Promise<Bytes> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  return Number(/^Rss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * KIB;
}

const notHeld = (detail: string): PreflightVerdict => ({
  ok: false,
  code: null,
  detail: detail.slice(0, 500),
  loaded: null,
  golden: { passed: 0, total: 0 },
  environment: true,
});
