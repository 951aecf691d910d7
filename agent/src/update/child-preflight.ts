/**
 * Preflight in a process of its own, so that a model that crashes, hangs or eats memory takes nothing with it.
 * Limits: wall time; resident memory, polled from /proc and ended when over (an address-space limit would stop the
 * runtime itself); 64 KiB of output. Faults before the child says `ready` are this machine's; after it the model's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Bytes, KIB, MIB, type Millis } from '@skein/protocol/units.ts';
import type { Preflight, PreflightVerdict, StagedModel } from './ports.ts';
import {
  PREFLIGHT_OUTPUT_MAX,
  type PreflightLine,
  type PreflightRequest,
  parsePreflightLine,
} from './preflight-wire.ts';

export interface ChildPreflightOptions {
  wallLimitMs?: Millis;
  /** What the child may hold beside what the manifest asks for; the runtime alone takes about 110 MiB. */
  baseMemoryBytes?: Bytes;
  threads?: number;
  providers?: readonly string[];
  /** The child's program; a bundled release names its own. */
  childPath?: string;
}

const SOURCE_CHILD = fileURLToPath(new URL('./preflight-child.ts', import.meta.url));
const encoder = new TextEncoder();
const POLL_MS: Millis = 25;
const LOW_PRIORITY = 10;

type Stopped = { code: 'MODEL_TIMEOUT' | 'MODEL_MEMORY' | 'STOPPED' | 'TOO_TALKATIVE'; detail: string };

export function childPreflight(options: ChildPreflightOptions = {}): Preflight {
  const { wallLimitMs = 60_000, baseMemoryBytes = 512 * MIB, threads = 1, providers = ['cpu'] } = options;
  const childPath = options.childPath ?? SOURCE_CHILD;
  return {
    run(model: StagedModel, signal?: AbortSignal): Promise<PreflightVerdict> {
      const { variant, manifest, modelPath, goldenPath } = model;
      const request: PreflightRequest = {
        modelPath,
        goldenPath,
        goldenSha256: manifest.golden.sha256,
        variant,
        threads,
        providers,
      };
      const limits = {
        wallLimitMs,
        memoryBytes: baseMemoryBytes + Math.max(manifest.needs.memoryBytes, 2 * variant.file.size),
      };
      return new Trial(childPath, request, limits).run(signal);
    },
  };
}

class Trial {
  readonly #child: ChildProcess;
  readonly #limits: { wallLimitMs: Millis; memoryBytes: Bytes };
  #output = '';
  #errors = '';
  #stopped: Stopped | undefined;

  constructor(
    childPath: string,
    request: PreflightRequest,
    limits: { wallLimitMs: Millis; memoryBytes: Bytes },
  ) {
    this.#limits = limits;
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
    const { wallLimitMs } = this.#limits;
    const stop = () => this.#stop({ code: 'STOPPED', detail: 'the agent stops' });
    const wall = setTimeout(() => {
      this.#stop({ code: 'MODEL_TIMEOUT', detail: `no answer within ${wallLimitMs} ms` });
    }, wallLimitMs);
    const poll = setInterval(() => void this.#weigh(), POLL_MS);
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
    this.#yieldToInference();
    return new Promise<PreflightVerdict>((done) => {
      this.#child.once('error', (error) => done(notHeld(`the child can not be started: ${error.message}`)));
      this.#child.once('close', (code, ending) => done(this.#conclude(code, ending)));
    }).finally(() => {
      clearTimeout(wall);
      clearInterval(poll);
      signal?.removeEventListener('abort', stop);
    });
  }

  #hear(text: string): void {
    this.#output += text;
    if (this.#output.length > PREFLIGHT_OUTPUT_MAX) {
      this.#stop({ code: 'TOO_TALKATIVE', detail: `more than ${PREFLIGHT_OUTPUT_MAX} bytes of output` });
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
    if (this.#stopped?.code === 'STOPPED' || lines.length === 0) {
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
    const lines = this.#output.split('\n').filter((text) => text.startsWith('{"stage":'));
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
