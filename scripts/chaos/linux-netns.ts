/**
 * A network namespace with one link to this machine, for one device: what happens on the link happens to its kernel,
 * with all that TCP makes of it. Inside, `localhost` is this machine at the other end of the link, so that certificates
 * hold. Nothing of it is left after {@link NetworkNamespace.close}; the rules live and die with the namespace.
 * Sources: ip-netns(8) for /etc/netns, tc-tbf(8), nft(8) for `numgen`.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOnPath } from '../apt-tools.ts';

/**
 * down: no carrier. lost: every packet vanishes, nobody is told. refused: every packet is answered with an ICMP error.
 * lossy: one packet in five vanishes, each way. narrow: {@link RATE} each way. moved: the device has another address,
 * and what was connected from the old one is an orphan.
 */
export const LINK_WEATHERS = ['down', 'lost', 'refused', 'lossy', 'narrow', 'moved'] as const;
export type LinkWeather = (typeof LINK_WEATHERS)[number];

const RATE = '32kbit';
/** Its name inside. */
const LINK = 'up0';
/** For measuring networks (RFC 2544): on no machine's way anywhere. */
const NETWORK = '198.18';

const run = (program: string, ...args: string[]): void =>
  void execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });

interface Pair {
  begin(): void;
  end(): void;
}

export class NetworkNamespace {
  readonly name: string;
  /** Of this machine, as the namespace sees it. */
  readonly address: string;
  readonly #outside: string;
  readonly #inside: readonly [usual: string, moved: string];

  /** @param index tells namespaces of this process apart @throws Error what `ip` said */
  constructor(index: number) {
    const subnet = (process.pid * 4 + index) % 2 ** 13;
    const at = (host: number) => `${NETWORK}.${subnet >> 5}.${(subnet & 31) * 8 + host}`;
    this.name = `skein-chaos-${process.pid}-${index}`;
    this.#outside = `sk${process.pid}-${index}`;
    this.address = at(1);
    this.#inside = [at(2), at(3)];
    try {
      this.#open();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #open(): void {
    const folder = hostsFolder(this.name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'hosts'), `${this.address} localhost\n`);
    run('ip', 'netns', 'add', this.name);
    run('ip', 'link', 'add', this.#outside, 'type', 'veth', 'peer', 'name', LINK, 'netns', this.name);
    run('ip', 'address', 'add', `${this.address}/29`, 'dev', this.#outside);
    run('ip', 'link', 'set', this.#outside, 'up');
    this.#ip('address', 'add', `${this.#inside[0]}/29`, 'dev', LINK);
    for (const device of ['lo', LINK]) this.#ip('link', 'set', device, 'up');
  }

  /** A command that runs inside; the process keeps its id. */
  inside(program: string, args: readonly string[]): { program: string; args: string[] } {
    return { program: 'ip', args: ['netns', 'exec', this.name, program, ...args] };
  }

  /** @returns what ends it */
  spoil(weather: LinkWeather): () => void {
    const pair = this.#pairs[weather];
    pair.begin();
    return pair.end;
  }

  readonly #pairs: Record<LinkWeather, Pair> = {
    down: {
      begin: () => run('ip', 'link', 'set', this.#outside, 'down'),
      end: () => run('ip', 'link', 'set', this.#outside, 'up'),
    },
    lost: this.#rule('drop'),
    refused: this.#rule('reject with icmpx type admin-prohibited'),
    lossy: this.#rule('numgen random mod 5 0 drop'),
    narrow: {
      begin: () => this.#shape('add', ['rate', RATE, 'burst', '3000', 'latency', '500ms']),
      end: () => this.#shape('del', []),
    },
    moved: {
      begin: () => this.#move(0, 1),
      end: () => this.#move(1, 0),
    },
  };

  /** On what comes in and what goes out. */
  #rule(verdict: string): Pair {
    const chain = (hook: string, name: string) =>
      `chain ${hook} { type filter hook ${hook} priority 0; ${name} ${LINK} ${verdict}; }`;
    const rules = `table inet skein { ${chain('input', 'iifname')}; ${chain('output', 'oifname')}; }`;
    return {
      begin: () => this.#run('nft', rules),
      end: () => this.#run('nft', 'delete table inet skein'),
    };
  }

  #shape(act: 'add' | 'del', shape: string[]): void {
    const bucket = shape.length > 0 ? ['tbf', ...shape] : [];
    run('tc', 'qdisc', act, 'dev', this.#outside, 'root', ...bucket);
    this.#run('tc', 'qdisc', act, 'dev', LINK, 'root', ...bucket);
  }

  #move(from: 0 | 1, to: 0 | 1): void {
    this.#ip('address', 'del', `${this.#inside[from]}/29`, 'dev', LINK);
    this.#ip('address', 'add', `${this.#inside[to]}/29`, 'dev', LINK);
  }

  #run(program: string, ...args: string[]): void {
    const command = this.inside(program, args);
    run(command.program, ...command.args);
  }

  #ip(...args: string[]): void {
    run('ip', '-n', this.name, ...args);
  }

  /** Whoever still lives inside loses its network. */
  close(): void {
    for (const args of [
      ['link', 'del', this.#outside],
      ['netns', 'del', this.name],
    ]) {
      try {
        run('ip', ...args);
      } catch {
        // It never came to be.
      }
    }
    rmSync(hostsFolder(this.name), { recursive: true, force: true });
  }
}

const hostsFolder = (name: string): string => join('/etc/netns', name);

/** undefined: it can be done here; else what is missing for it. */
export function lacksNamespaces(): string | undefined {
  if (!isOnPath('ip') || !isOnPath('tc')) return 'apt-get install iproute2';
  if (!isOnPath('nft')) return 'apt-get install nftables';
  try {
    run('unshare', '-n', 'true');
    return undefined;
  } catch {
    return 'may not make network namespaces; be root';
  }
}
