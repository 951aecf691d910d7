import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

/**
 * The page obeys `default-src 'self'`: nothing is inlined as a data: address, and it asks no other host.
 * In development `/v1` goes to a running server, so `npx vite fleet-server/dashboard` shows live data.
 */
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2022',
    // Of an age with light-dark(); an older target would have it rewritten and the theme switch broken.
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:8080' } },
});
