/// <reference lib="esnext.disposable" preserve="true" />
import type { RawHandle } from "./binding.js";
import { ForgelingError, guarded } from "./errors.js";

// Older engines lack Symbol.dispose; the registered symbol keeps the class body valid there.
const dispose: typeof Symbol.dispose =
  Symbol.dispose ?? (Symbol.for("Symbol.dispose") as typeof Symbol.dispose);

/**
 * An object whose memory lives in wasm. Free it with `free()`, or let `using` do so; an object that is
 * simply dropped is freed by the engine some time later.
 */
export abstract class Handle<Raw extends RawHandle> implements Disposable {
  #raw: Raw;
  #freed = false;
  #pending = 0;
  #turn: Promise<void> = Promise.resolve();

  /** Only this package makes these: use the static methods and `openDevice`. */
  constructor(raw: Raw) {
    this.#raw = raw;
  }

  /** Whether `free()` was called. */
  get freed(): boolean {
    return this.#freed;
  }

  /** Gives the memory back. Work in flight is finished first; calling it twice does nothing. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    if (this.#pending === 0) this.#raw.free();
  }

  /** The same as `free()`, for `using`. */
  [dispose](): void {
    this.free();
  }

  /** The raw object, or an error after `free()`. @internal */
  raw(operation: string): Raw {
    if (!this.#freed) return this.#raw;
    const what = this.constructor.name;
    throw new ForgelingError("freed", `this ${what} was freed`, { operation });
  }

  /** A synchronous call on the raw object, with its errors made typed. @internal */
  call<T>(operation: string, body: (raw: Raw) => T): T {
    const raw = this.raw(operation);
    return guarded(operation, () => body(raw));
  }

  /**
   * The same for an asynchronous call; `free()` waits for it. Calls on one object take turns, because
   * wasm refuses two that overlap. @internal
   */
  async run<T>(operation: string, body: (raw: Raw) => Promise<T>): Promise<T> {
    const raw = this.raw(operation);
    this.#pending += 1;
    const before = this.#turn;
    let done = () => {};
    this.#turn = new Promise((resolve) => (done = resolve));
    await before;
    try {
      return await body(raw);
    } catch (cause) {
      throw ForgelingError.from(cause, operation);
    } finally {
      done();
      this.#pending -= 1;
      if (this.#freed && this.#pending === 0) raw.free();
    }
  }
}

/** `{learning_rate: 1}` → `{learningRate: 1}`, for one flat object. */
export function camelKeys<T>(row: object): T {
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [camel(key), value as unknown])) as T;
}

/** The same for an object with objects and arrays in it. */
export function camelTree<T>(value: unknown): T {
  if (Array.isArray(value)) return value.map((entry) => camelTree(entry)) as T;
  if (typeof value !== "object" || value === null) return value as T;
  const entries = Object.entries(value).map(([key, entry]) => [camel(key), camelTree(entry)]);
  return Object.fromEntries(entries) as T;
}

function camel(key: string): string {
  return key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
