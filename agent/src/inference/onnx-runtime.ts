/**
 * onnxruntime that keeps to itself. Its official builds for Linux report to their maker which models run (names of files
 * and graphs, hashes of the weights) and keep an identity and a database for that in the home folder, unless this
 * variable is set before the first session (since 1.29: pull request 27379 of microsoft/onnxruntime). Whoever wants a
 * session takes the runtime from here; a worker has a copy of its parent's environment, so the parent must have too.
 */
import * as ort from 'onnxruntime-node';

process.env.ORT_DISABLE_TELEMETRY = '1';
ort.env.logLevel = 'fatal';

export { ort };
