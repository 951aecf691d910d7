/**
 * The execution backends of this device, by name. Whoever loads a model need not know which one runs it; a name that
 * nobody configured here is a fact of this device and no fault of the model.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import {
  type Backend,
  type BackendFacts,
  type Compiling,
  IN_PROCESS,
  type LoadedModel,
  type LoadRequest,
} from './backend.ts';

/** What can be asked about backends before a model is downloaded. */
export interface BackendDirectory {
  /** Never rejects. */
  facts(backend: string): Promise<BackendFacts>;
}

export type FaultListener = (backend: string, fault: BackendFacts['fault']) => void;

/** Of a backend that takes any file with its name on it. */
export const ANYTHING: BackendFacts = { target: null, sdk: null, fault: null };

export class Backends implements Backend, BackendDirectory {
  readonly name = 'backends';
  readonly #inProcess: Backend;
  readonly #others: ReadonlyMap<string, Backend>;

  readonly #faults = new Map<string, BackendFacts['fault']>();
  #listener: FaultListener = () => undefined;

  constructor(inProcess: Backend, others: readonly Backend[] = []) {
    this.#inProcess = inProcess;
    this.#others = new Map(others.map((backend) => [backend.name, backend]));
  }

  /** Those that are programs of their own. */
  get names(): string[] {
    return [...this.#others.keys()];
  }

  /** Hears what is known already, then every change. One listener. */
  watch(listener: FaultListener): void {
    this.#listener = listener;
    for (const [name, fault] of this.#faults) listener(name, fault);
  }

  /** A backend became unusable, or usable again (null). */
  changed(name: string, fault: BackendFacts['fault']): void {
    this.#faults.set(name, fault);
    this.#listener(name, fault);
  }

  async facts(name = 'onnxruntime'): Promise<BackendFacts> {
    const backend = this.#named(name);
    if (!backend) return { ...ANYTHING, fault: { code: 'BACKEND_UNAVAILABLE', detail: missing(name) } };
    return (await backend.facts?.()) ?? ANYTHING;
  }

  /** @throws SkeinError BACKEND_UNAVAILABLE and those of the backend */
  async load(request: LoadRequest, compiling?: Compiling): Promise<LoadedModel> {
    const name = request.backend ?? 'onnxruntime';
    const backend = this.#named(name);
    if (backend) return backend.load(request, compiling);
    throw new SkeinError('BACKEND_UNAVAILABLE', missing(name), {
      fix: `Add \`backends: { ${name}: { url: … } }\` to the agent’s configuration, or order a model with another variant.`,
    });
  }

  #named(name: string): Backend | undefined {
    return IN_PROCESS.includes(name) ? this.#inProcess : this.#others.get(name);
  }
}

const missing = (name: string): string => `no backend \`${name}\` is configured on this device`;
