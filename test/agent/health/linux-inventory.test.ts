import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { nameBoard, readInventory } from '@skein/agent/health/linux-inventory.ts';
import { afterEach, describe, expect, it } from 'vitest';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

/** A machine whose kernel says just this. */
function machine(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'skein-inventory-'));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

describe('what the kernel says of a machine', () => {
  it('names an ARM board by its device tree and tags its family', () => {
    const root = machine({
      'proc/device-tree/model': 'Raspberry Pi 4 Model B Rev 1.4\0',
      'etc/os-release': 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    });
    expect(readInventory(['north'], root)).toMatchObject({
      model: 'Raspberry Pi 4 Model B Rev 1.4',
      os: 'Debian GNU/Linux 12 (bookworm)',
      tags: [arch(), 'raspberry-pi', 'north'],
    });
  });

  it('names a PC by its firmware', () => {
    const root = machine({
      'sys/class/dmi/id/sys_vendor': 'Dell Inc.\n',
      'sys/class/dmi/id/product_name': 'Edge Gateway 3001\n',
    });
    expect(readInventory([], root).model).toBe('Dell Inc. Edge Gateway 3001');
  });

  it('says a tag once, and never more than the contract takes', () => {
    const tags = Array.from({ length: 40 }, (_, i) => `t${i}`);
    const found = readInventory([arch(), ...tags], machine({})).tags;
    expect(found).toHaveLength(32);
    expect(new Set(found).size).toBe(32);
  });

  it('keeps the name that the kernel gave and asks programs only for one it did not give', async () => {
    const board = machine({ 'proc/device-tree/model': 'NVIDIA Jetson Orin Nano\0' });
    const known = readInventory([], board);
    expect(await nameBoard(known)).toBe(known);
    const nameless = readInventory([], machine({}));
    expect(nameless.model).toBe('unknown');
    const named = await nameBoard(nameless);
    expect(named.model.length).toBeGreaterThan(0);
    expect(named).toMatchObject({ tags: nameless.tags, os: nameless.os });
  });
});
