// Where a page keeps the checkpoints of a run of training: the last few in IndexedDB, by the run's name.
import { ForgelingError } from "./errors.js";

/** A checkpoint as it is kept. */
export interface Kept {
  step: number;
  bytes: Uint8Array;
}

/** The place where they are: a database, or a stand-in for tests. */
export interface Shelf {
  /** All of a run. */
  read(name: string): Promise<Kept[]>;
  /** Keeps one and, in the same transaction, removes those of the run's steps that `surplus` names. */
  write(name: string, kept: Kept, surplus: (steps: number[]) => number[]): Promise<void>;
  /** Removes all of a run. */
  clear(name: string): Promise<void>;
}

const DATABASE = "forgeling";
const STORE = "checkpoints";

/** The origin's IndexedDB. */
const indexedShelf: Shelf = {
  read: (name) =>
    transact("readonly", (store) => store.getAll(ofRun(name)) as IDBRequest<Kept[]>),
  write: (name, kept, surplus) =>
    transact("readwrite", (store) => {
      const put = store.put({ name, ...kept });
      const keys = store.getAllKeys(ofRun(name));
      keys.onsuccess = () => {
        const steps = (keys.result as [string, number][]).map(([, step]) => step);
        for (const step of surplus(steps)) store.delete([name, step]);
      };
      return put;
    }).then(() => {}),
  clear: (name) => transact("readwrite", (store) => store.delete(ofRun(name))),
};

let shelf = indexedShelf;

/** Puts another place in that of IndexedDB (for tests). */
export function replaceShelf(replacement: Shelf = indexedShelf): void {
  shelf = replacement;
}

/**
 * Forgets the checkpoints of a run: a trainer of that name begins anew.
 *
 * @param name as in {@link CheckpointOptions.name}.
 */
export async function deleteCheckpoints(name: string): Promise<void> {
  try {
    await shelf.clear(name);
  } catch (cause) {
    throw unkept("delete_checkpoints", cause);
  }
}

/** The checkpoints of one run of training. */
export class Checkpoints {
  readonly #name: string;
  readonly #keep: number;
  /** The step of the one that training goes on from. Later ones are of no use: they were not whole. */
  #base = 0;
  #fresh = true;
  #writing: Promise<void> = Promise.resolve();
  #failure: ForgelingError | undefined;

  constructor(name: string, keep: number) {
    this.#name = name;
    this.#keep = keep;
  }

  /** Those there are, the latest first. */
  async found(): Promise<Kept[]> {
    try {
      return (await shelf.read(this.#name)).sort((a, b) => b.step - a.step);
    } catch (cause) {
      throw unkept("resume", cause);
    }
  }

  /** Where the one of a step is, for people. */
  place(step: number): string {
    return `indexeddb:${this.#name}/${step}`;
  }

  /** Training goes on from that step. */
  resumed(step: number): void {
    this.#base = step;
  }

  /** Begins to write one; {@link settled} says when it is done. */
  save(step: number, bytes: Uint8Array): string {
    const [base, fresh] = [this.#base, this.#fresh];
    this.#fresh = false;
    const surplus = (steps: number[]) => {
      // What is later than where the run began, but was not written by it, is left from a run that is over or broken.
      const stale = (other: number) => fresh && other > base && other !== step;
      const last = steps.filter((other) => !stale(other)).sort((a, b) => b - a);
      const kept = new Set([step, ...last.slice(0, this.#keep)]);
      return steps.filter((other) => !kept.has(other));
    };
    this.#writing = this.#writing
      .then(() => shelf.write(this.#name, { step, bytes }, surplus))
      .catch((cause: unknown) => {
        this.#failure ??= unkept("save_checkpoint", cause);
      });
    return this.place(step);
  }

  /** Waits until all are written, and fails where one could not be. */
  async settled(): Promise<void> {
    await this.#writing;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
  }
}

function unkept(operation: string, cause: unknown): ForgelingError {
  if (cause instanceof ForgelingError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ForgelingError("io", `IndexedDB: ${why}`, { operation, cause });
}

function ofRun(name: string): IDBKeyRange {
  return IDBKeyRange.bound([name, 0], [name, Infinity]);
}

/** What the request of `body` came to, once everything of it is done. */
async function transact<T>(
  mode: IDBTransactionMode,
  body: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  if (typeof indexedDB === "undefined") throw new Error("this page has none");
  const database = await open();
  try {
    return await new Promise<T>((resolve, reject) => {
      // A checkpoint is for the case that the machine stops: it has to be on the disk.
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const request = body(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
    });
  } finally {
    database.close();
  }
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: ["name", "step"] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("it cannot be opened"));
  });
}
