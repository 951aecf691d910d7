/** Whether the server knows this browser. Set by any call that is answered 401, cleared by a login. */
import { signal } from '@preact/signals';

export const signedOut = signal(false);
