import { binding, type RawContinual } from "./binding.js";
import type { Device } from "./device.js";
import { ForgelingError, guarded } from "./errors.js";
import { camelTree, Handle } from "./handle.js";
import type { ModelName, NetworkGraph } from "./network-graph.js";
import { valuesOf, type ExampleShape, type Images } from "./pixels.js";
import { classes, count, nextTask, throwIfAborted } from "./tasks.js";
import type { FitSummary, HardwareOptions, ModelOptions, TrainEvent } from "./training.js";

/**
 * How a {@link Continual} keeps what it has learned:
 *
 * - `naive`: not at all.
 * - `er`: some examples of before are learned again at each step (experience replay).
 * - `er_ace`: the same, and new examples do not push old classes away.
 * - `derpp`: the same as `er`, and what was answered to them is learned again, too (DER++).
 * - `agem`: no step makes the loss on examples of before larger (A-GEM).
 * - `si`: weights that were important stay where they are (synaptic intelligence); no example is kept.
 */
export type ContinualStrategy = "naive" | "er" | "er_ace" | "derpp" | "agem" | "si";

/** How to learn one task after the other; see {@link Continual.create}. */
export interface ContinualOptions {
  /** The network: a name, one with sizes, or one's own. One that does not end in a linear layer is given one. */
  model: ModelName | ModelOptions | NetworkGraph;
  /** How many classes may come in all. Labels are numbers below it, in any order. */
  classes: number;
  /** How it keeps what it has learned. Default `er`. */
  strategy?: ContinualStrategy;
  /** Whether classes that have not come yet are no answer (`growing`), or all are from the start. Default `growing`. */
  head?: "all" | "growing";
  /**
   * How much is kept of the examples of before: so many in all, of each class, or bytes, an image taking a byte for each
   * value that is one of a picture and four for others. Default `{ total: 500 }`.
   */
  buffer?: { total: number } | { perClass: number } | { bytes: number };
  /** Examples of before at each step; `derpp` takes as many twice. Default 32. */
  replayed?: number;
  /** Times through the examples of each {@link Continual.learn}. Default 1. */
  epochs?: number;
  /** New examples of a step. Default 32. */
  batchSize?: number;
  /** Default 0.001. */
  learningRate?: number;
  /** Seed of the first weights, of the order, and of what is kept and replayed. Default 0. */
  seed?: number;
  /** On what it is trained. */
  hardware?: HardwareOptions;
}

/** How one call of {@link Continual.learn} is done. */
export interface LearnOptions {
  /** Ends learning after the step under way; the promise is then rejected with a `cancelled` error. What was learned is kept. */
  signal?: AbortSignal;
  /** Called with everything that happens. */
  onEvent?: (event: TrainEvent) => void;
}

/**
 * Learns one task after the other from examples as they come, without forgetting those before.
 *
 * ```js
 * const learner = Continual.create(device, { model: { kind: "conv4", filters: 16 }, classes: 10 });
 * for (const { images, labels, test } of tasks) {
 *   await learner.learn(images, labels);
 *   await learner.endTask(test.images, test.labels);
 * }
 * console.table(learner.accuracyMatrix());
 * ```
 */
export class Continual extends Handle<RawContinual> {
  readonly #input: ExampleShape;
  readonly #classes: number;

  private constructor(raw: RawContinual) {
    super(raw);
    this.#input = raw.input as ExampleShape;
    this.#classes = raw.classes;
  }

  /** A learner that has learned nothing. */
  static create(device: Device, options: ContinualOptions): Continual {
    const operation = "create_continual";
    const module = binding(operation);
    const place = device.raw(operation);
    count(operation, "classes", options.classes);
    return guarded(operation, () => new Continual(module.Continual.create(place, options)));
  }

  /** The learner of {@link Continual.save}'s bytes, which goes on as the other would have: on the CPU bit for bit. */
  static load(device: Device, bytes: Uint8Array, hardware: HardwareOptions = {}): Continual {
    const operation = "load_continual";
    const module = binding(operation);
    const place = device.raw(operation);
    return guarded(operation, () => new Continual(module.Continual.load(place, bytes, hardware)));
  }

  /** How many classes may come. */
  get classes(): number {
    return this.#classes;
  }

  /** Optimizer steps so far. */
  get steps(): number {
    return this.call("steps", (raw) => raw.steps);
  }

  /**
   * Learns examples of the task with a label each, together with examples of before. A task may come in several calls. Before
   * each step the event loop runs. Resolves to all training so far.
   */
  async learn(images: Images, labels: number | ArrayLike<number>, options: LearnOptions = {}): Promise<FitSummary> {
    const operation = "continual_learn";
    const { signal, onEvent } = options;
    throwIfAborted(signal, operation);
    const [values, numbers] = this.#examples(operation, images, labels);
    const report = (row: object) => {
      onEvent?.(camelTree<TrainEvent>(row));
      return signal?.aborted ?? false;
    };
    const summary = await this.run(operation, (raw) => raw.learn(values, numbers, nextTask, report));
    throwIfAborted(signal, operation);
    return camelTree<FitSummary>(summary);
  }

  /**
   * Ends the task, so that what is learned next is another one. Test examples are kept; on them and on those of all tasks
   * before it is tested. Resolves to the new row of {@link Continual.accuracyMatrix}.
   */
  async endTask(images?: Images, labels?: number | ArrayLike<number>): Promise<number[]> {
    const operation = "end_task";
    if ((images === undefined) !== (labels === undefined)) {
      throw new ForgelingError("invalid_argument", "images or labels are missing", { operation, expected: "both or neither" });
    }
    const test = images === undefined || labels === undefined ? [] : this.#examples(operation, images, labels);
    const [values, numbers] = test;
    return Array.from(await this.run(operation, (raw) => raw.endTask(values, numbers, nextTask)));
  }

  /**
   * Accuracies, 0..1: a row after each task that has ended, and a column for each that has test examples, in their order.
   * Where all have some, row `i` has the accuracies on the tasks 0 to `i`.
   */
  accuracyMatrix(): number[][] {
    return this.call("accuracy_matrix", (raw) => raw.accuracyMatrix());
  }

  /** The most probable class of each image or row. */
  async classify(images: Images): Promise<number[]> {
    const values = valuesOf("continual_classify", images, this.#input);
    return Array.from(await this.run("continual_classify", (raw) => raw.classify(values)));
  }

  /** For each image or row, the probability of each class: 0 of those that have not come, with a growing head. */
  async predict(images: Images): Promise<number[][]> {
    const values = valuesOf("continual_classify", images, this.#input);
    const found = await this.run("continual_classify", (raw) => raw.predict(values));
    const rows = found.length / this.#classes;
    return Array.from({ length: rows }, (_, row) => Array.from(found.subarray(row * this.#classes, (row + 1) * this.#classes)));
  }

  /** All of it, examples included, for {@link Continual.load}: such as to go on when the page is opened the next time. */
  async save(): Promise<Uint8Array> {
    return this.run("save_continual", (raw) => raw.save());
  }

  #examples(operation: string, images: Images, labels: number | ArrayLike<number>): [Float32Array, Uint32Array] {
    const list = typeof labels === "number" ? [labels] : labels;
    return [valuesOf(operation, images, this.#input), classes(operation, list)];
  }
}
