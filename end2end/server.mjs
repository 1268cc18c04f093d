// Starts `stalewatch demo --json` on a data folder of its own and waits for its one line.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createWriteStream, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const READY_MS = 240_000;

/** The binary: STALEWATCH_BIN, else the debug build. */
function binary() {
  if (process.env.STALEWATCH_BIN) return process.env.STALEWATCH_BIN;
  const target = process.env.CARGO_TARGET_DIR ?? join(import.meta.dirname, '..', 'target');
  const found = ['debug', 'release'].map((profile) => join(target, profile, 'stalewatch')).find(existsSync);
  if (!found) throw new Error(`no stalewatch binary in ${target}: build it, or name it with STALEWATCH_BIN`);
  return found;
}

/** Starts the demo; `stop()` ends it and removes its folder. */
export async function startDemo({ history = 2 } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'stalewatch-end2end-'));
  const log = createWriteStream(join(import.meta.dirname, 'demo.log'));
  const child = spawn(binary(), ['demo', '--json', '--listen', '127.0.0.1:0', '--data-dir', folder, '--history', String(history)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stderr.pipe(log);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 30_000);
    await ended;
    clearTimeout(late);
    await rm(folder, { recursive: true, force: true });
  };
  const line = await Promise.race([
    new Promise((resolve) => createInterface({ input: child.stdout }).once('line', resolve)),
    ended.then((code) => Promise.reject(new Error(`the demo ended with ${code} before it was ready; see end2end/demo.log`))),
    new Promise((_, reject) => setTimeout(() => reject(new Error(`the demo was not ready within ${READY_MS / 1000} s`)), READY_MS).unref()),
  ]).catch(async (error) => {
    await stop();
    throw error;
  });
  return { ...JSON.parse(line), stop };
}
