/**
 * A key that systemd hands to this service and to nobody else: `LoadCredential=` or, sealed to the TPM2 or to this machine,
 * `LoadCredentialEncrypted=` (systemd.exec(5), "CREDENTIALS"). It lies in memory that is not swapped.
 */
import { join } from 'node:path';
import { diskKey } from './disk-key.ts';
import { type KeyPort, keyNeeded } from './key-port.ts';

export function systemdKey(name: string, env: NodeJS.ProcessEnv = process.env): KeyPort {
  const from = `credential ${name}`;
  const folder = env.CREDENTIALS_DIRECTORY;
  if (folder) return diskKey(join(folder, name), from, `Add LoadCredentialEncrypted=${name} to the unit.`);
  return {
    from,
    read: () =>
      Promise.reject(
        keyNeeded(
          `${from}: this process has no credentials from systemd`,
          `Run it as a service with LoadCredentialEncrypted=${name}, or as in AT-REST.md by systemd-run.`,
        ),
      ),
  };
}
