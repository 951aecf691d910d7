/** A camera: writes 8 × 8 gray frames that begin with its pid, every few milliseconds, to standard output. */
const frame = Buffer.alloc(64);
frame.writeUInt32LE(process.pid);
setInterval(() => process.stdout.write(frame), Number(process.argv[2] ?? 10));
