import { ForgelingError } from "./errors.js";

/** Waits for a new task, not only a microtask: unlike `setTimeout(0)` it is not held up for 4 ms. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** A `cancelled` error where the signal asked for the work to stop. */
export function throwIfAborted(signal?: AbortSignal, operation = "fit"): void {
  if (!signal?.aborted) return;
  throw new ForgelingError("cancelled", "training was stopped", {
    operation,
    cause: signal.reason,
  });
}

/** A whole number from 1 on, or an error: wasm would turn others into one silently. */
export function count(operation: string, name: string, value: number): number {
  if (Number.isInteger(value) && value > 0 && value <= 0xffffffff) return value;
  throw new ForgelingError("invalid_argument", `${name} is out of range`, {
    operation,
    expected: "a whole number from 1 on",
    got: String(value),
  });
}

/** Labels as wasm takes them; what a typed array would silently turn into a class is an error. */
export function classes(operation: string, labels: ArrayLike<number>): Uint32Array {
  const all = Array.from(labels);
  const wrong = all.find((label) => !Number.isInteger(label) || label < 0 || label > 0xffffffff);
  if (wrong === undefined) return Uint32Array.from(all);
  throw new ForgelingError("invalid_argument", "a label is no class", {
    operation,
    expected: "whole numbers from 0 on",
    got: String(wrong),
  });
}
