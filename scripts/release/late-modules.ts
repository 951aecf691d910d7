/**
 * Modules that a bundle loads when something of them is first used: an import would load them at the start. The first
 * import of one of Node's own as an ES module also reads every property it exports, which loads what nobody asked for
 * (`node:http` brings a whole web client), so they are taken by `process.getBuiltinModule`. Of packages, onnxruntime maps
 * 25 MB that a command which predicts nothing has no use for, and the others make tables and hundreds of functions.
 */
import { isBuiltin } from 'node:module';
import type { Plugin } from 'esbuild';

const BUILTIN = 'node-builtin';
const LATE = 'late-package';
/** What is not needed until after a first prediction, or to predict nothing. */
const LATE_PACKAGES = /^(onnxruntime-node|tweetnacl|node-cron|fflate|@noble\/hashes\/.+)$/;

/**
 * What was asked for is kept where the next one who asks finds it at once. It is inherited, because esbuild copies the own
 * properties of such a module for each file that imports it: thousands at a start.
 */
const late = (load: string): string => `const found = Object.create(new Proxy({}, {
  get(_none, name) {
    if (name === '__esModule') return undefined;
    const value = ${load}[name];
    Object.defineProperty(found, name, { value });
    return value;
  },
  has: (_none, name) => name in ${load},
}));
module.exports = Object.create(found);`;

export const lateModules: Plugin = {
  name: 'late-modules',
  setup(builder) {
    builder.onResolve({ filter: /^(node:)?[a-z0-9_/]+$/ }, ({ path, kind }) => {
      const imported = kind === 'import-statement' || kind === 'dynamic-import';
      return imported && isBuiltin(path) ? { path, namespace: BUILTIN } : undefined;
    });
    builder.onLoad({ filter: /.*/, namespace: BUILTIN }, ({ path }) => ({
      contents: late(`process.getBuiltinModule(${JSON.stringify(path)})`),
      loader: 'js',
    }));
    builder.onResolve({ filter: LATE_PACKAGES }, ({ path, namespace, resolveDir }) =>
      namespace === LATE ? undefined : { path, namespace: LATE, pluginData: resolveDir },
    );
    builder.onLoad({ filter: /.*/, namespace: LATE }, ({ path, pluginData: resolveDir }) => ({
      contents: late(`require(${JSON.stringify(path)})`),
      loader: 'js',
      resolveDir,
    }));
  },
};
