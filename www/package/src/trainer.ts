import { binding, type RawClassifierTrainer } from "./binding.js";
import { Checkpoints, type Kept } from "./checkpoints.js";
import type { Prediction } from "./classifier.js";
import type { Device } from "./device.js";
import { ForgelingError, guarded } from "./errors.js";
import { camelTree, Handle } from "./handle.js";
import { predictions } from "./network.js";
import type { NetworkSummary } from "./network-graph.js";
import { valuesOf, type ExampleShape, type Images } from "./pixels.js";
import type { Profile, ProfileOptions } from "./profile.js";
import { classes, count, nextTask, throwIfAborted } from "./tasks.js";
import type {
  FitSummary,
  HardwareReport,
  MemoryPlan,
  TrainEvent,
  TrainerOptions,
} from "./training.js";

/** How one run of {@link Trainer.fit} is done. */
export interface TrainerFitOptions {
  /** Ends training after the step under way; the generator then throws a `cancelled` error. What was learned is kept. */
  signal?: AbortSignal;
  /** Goes on from these bytes of {@link Trainer.checkpoint}, and not from what was saved last. */
  from?: Uint8Array;
}

/** What wasm has reported and the page has not yet taken. */
class Channel {
  readonly events: TrainEvent[] = [];
  /** Whether training is to end after the step under way. */
  stop = false;
  /** Whether it has ended. */
  over = false;
  #wake = () => {};
  #drained = () => {};

  push(event: TrainEvent): void {
    this.events.push(event);
    this.#wake();
  }

  end(): void {
    this.over = true;
    this.#wake();
  }

  /** Lets training run to its end without a listener. */
  abandon(): void {
    this.stop = true;
    this.#drained();
  }

  /** Training waits here until all events were taken. */
  async taken(): Promise<void> {
    while (this.events.length > 0 && !this.stop) await new Promise<void>((resolve) => (this.#drained = resolve));
  }

  /** The page waits here for events, or the end. */
  async arrival(): Promise<void> {
    this.#drained();
    while (this.events.length === 0 && !this.over) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

/**
 * Trains a classifier on examples of your own, which stay in the page.
 *
 * ```js
 * const trainer = await Trainer.create(device, { model: { kind: "conv4", filters: 32 }, classes: ["cat", "dog"] });
 * trainer.add(canvas, "cat");
 * for await (const event of trainer.fit()) if (event.event === "epoch") console.log(event.loss);
 * const [[best]] = await trainer.predict(canvas);
 * ```
 *
 * While `fit()` runs, other calls fail: they are for before and after, or between two runs.
 */
export class Trainer extends Handle<RawClassifierTrainer> {
  readonly #device: Device;
  readonly #classes: readonly string[];
  readonly #input: ExampleShape;
  readonly #keeps: boolean;
  readonly #checkpoints: Checkpoints | undefined;
  #channel: Channel | undefined;

  private constructor(raw: RawClassifierTrainer, device: Device, names: readonly string[], options: TrainerOptions) {
    super(raw);
    this.#device = device;
    this.#classes = names;
    this.#input = raw.input as ExampleShape;
    const { name, keep = 3 } = options.checkpoints ?? {};
    this.#keeps = options.checkpoints !== undefined;
    this.#checkpoints = name === undefined ? undefined : new Checkpoints(name, keep);
  }

  /** An untrained network and how it is to be trained. */
  static async create(device: Device, options: TrainerOptions): Promise<Trainer> {
    const operation = "create_trainer";
    const module = binding(operation);
    const place = device.raw(operation);
    const { classes: given, checkpoints, ...rest } = options;
    const names =
      typeof given === "number"
        ? Array.from({ length: count(operation, "classes", given) }, (_, index) => String(index))
        : [...given];
    if (new Set(names).size < names.length) {
      throw new ForgelingError("invalid_argument", "two classes have one name", { operation });
    }
    count(operation, "checkpoints.keep", checkpoints?.keep ?? 3);
    const every = checkpoints?.every;
    const all = { ...rest, classes: names, ...(every !== undefined && { checkpointEvery: every }) };
    return guarded(operation, () => {
      return new Trainer(module.ClassifierTrainer.create(place, all), device, names, options);
    });
  }

  /** The names of the classes. */
  get classes(): readonly string[] {
    return this.#classes;
  }

  /** How many examples there are of each class. */
  get counts(): number[] {
    return this.call("count_examples", (raw) => Array.from(raw.counts()));
  }

  /** The network layer by layer. */
  summary(): NetworkSummary {
    return this.call("summary", (raw) => camelTree(raw.summary()));
  }

  /** How many numbers training adjusts. */
  get trainedValues(): number {
    return this.call("trained_values", (raw) => raw.trainedValues);
  }

  /** How many others there are: running statistics. */
  get bufferValues(): number {
    return this.call("buffer_values", (raw) => raw.bufferValues);
  }

  /** Optimizer steps so far. */
  get steps(): number {
    return this.call("steps", (raw) => raw.steps);
  }

  /**
   * Adds examples with a label each, by name or number; one picture takes one label. With other examples than before, a
   * run cannot go on from its checkpoints.
   */
  add(images: Images, labels: string | number | ArrayLike<string | number>): void {
    const operation = "add_examples";
    const list = typeof labels === "string" || typeof labels === "number" ? [labels] : Array.from(labels);
    const numbers = classes(operation, list.map((label) => this.#number(operation, label)));
    const values = valuesOf(operation, images, this.#input);
    this.call(operation, (raw) => raw.add(values, numbers));
  }

  /**
   * Trains until a limit, and reports everything that happens. Before every step it lets the event loop run, and waits
   * until the loop around it has taken all events. Leaving that with `break` ends training after one more step at most,
   * and keeps what was learned. With `checkpoints`, training goes on where the last one is that is whole, also on a page
   * that was loaded anew, as if it had not been interrupted: on the CPU bit for bit.
   */
  async *fit(options: TrainerFitOptions = {}): AsyncGenerator<TrainEvent, FitSummary, void> {
    const { signal, from } = options;
    this.#idle("fit");
    throwIfAborted(signal);
    const channel = new Channel();
    this.#channel = channel;
    const stop = () => channel.abandon();
    signal?.addEventListener("abort", stop);
    try {
      const running = this.#run(channel, from).finally(() => channel.end());
      // Whoever waits for it at the end hears of the failure; nobody else needs to.
      running.catch(() => {});
      try {
        while (!channel.stop) {
          const event = channel.events.shift();
          if (event) yield event;
          else if (channel.over) break;
          else await channel.arrival();
        }
        const summary = await running;
        throwIfAborted(signal);
        return summary;
      } finally {
        channel.abandon();
        await running.catch(() => {});
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#channel = undefined;
    }
  }

  /**
   * The state of the run where it was last saved: after an epoch, at the end of `fit()`, or as `checkpoints.every` says.
   * For {@link TrainerFitOptions.from}.
   */
  checkpoint(): Uint8Array {
    const operation = "checkpoint";
    this.#idle(operation);
    const bytes = this.call(operation, (raw) => raw.checkpoint());
    if (bytes) return bytes;
    throw new ForgelingError("not_ready", "no checkpoint was kept", {
      operation,
      expected: "the option `checkpoints`, and a run of fit()",
    });
  }

  /** For each image or row, all classes with their probabilities, the most probable first. */
  async predict(images: Images): Promise<Prediction[][]> {
    this.#idle("predict");
    const values = valuesOf("predict", images, this.#input);
    return predictions(this.#classes, await this.run("predict", (raw) => raw.predict(values)));
  }

  /** The network as a safetensors file, for {@link Network.load}. */
  async save(): Promise<Uint8Array> {
    this.#idle("save_model");
    return this.run("save_model", (raw) => raw.save());
  }

  /**
   * Where the time of training goes: takes so many steps on a copy of the network, which is then dropped.
   *
   * @param steps default 10.
   */
  async profile(steps = 10, options: ProfileOptions = {}): Promise<Profile> {
    this.#idle("profile");
    count("profile", "steps", steps);
    return this.#device.profile(() => this.run("profile", (raw) => raw.rehearse(steps, nextTask)), options);
  }

  /**
   * What a training step takes at most, computed from the shapes, before anything is allocated.
   *
   * @param batchSize default: as configured.
   */
  plan(batchSize?: number): MemoryPlan {
    this.#idle("plan");
    if (batchSize !== undefined) count("plan", "batchSize", batchSize);
    return this.call("plan", (raw) => camelTree<MemoryPlan>(raw.plan(batchSize)));
  }

  /** What the hardware options came to, and why. */
  report(): HardwareReport {
    this.#idle("report");
    return this.call("report", (raw) => camelTree<HardwareReport>(raw.report()));
  }

  /** Gives the memory back; training under way ends first, after its step. */
  override free(): void {
    this.#channel?.abandon();
    super.free();
  }

  async #run(channel: Channel, from?: Uint8Array): Promise<FitSummary> {
    const kept = this.#checkpoints;
    const found = await this.#found(from);
    const report = (row: object) => {
      const event = camelTree<TrainEvent>(row);
      if (event.event === "resumed") kept?.resumed(event.step);
      channel.push(event);
      return channel.stop;
    };
    const pace = async () => {
      await kept?.settled();
      await channel.taken();
      await nextTask();
    };
    const save = kept && ((step: number, bytes: Uint8Array) => kept.save(step, bytes));
    const places = found.map(({ place }) => place);
    const bytes = found.map((one) => one.bytes);
    const keeps = this.#keeps || from !== undefined;
    const summary = await this.run("fit", (raw) => raw.fit(pace, report, keeps, save, places, bytes));
    await kept?.settled();
    return camelTree<FitSummary>(summary);
  }

  /** Checkpoints to go on from, the latest first. */
  async #found(from?: Uint8Array): Promise<(Omit<Kept, "step"> & { place: string })[]> {
    if (from) return [{ place: "memory", bytes: from }];
    if (!this.#keeps) return [];
    const bytes = this.call("fit", (raw) => raw.checkpoint());
    const own = bytes ? [{ place: "memory", bytes }] : [];
    // What this trainer knows is as new as what it has written.
    if (!this.#checkpoints || own.length > 0) return own;
    const found = await this.#checkpoints.found();
    return found.map(({ step, bytes }) => ({ place: this.#checkpoints!.place(step), bytes }));
  }

  #number(operation: string, label: string | number): number {
    if (typeof label === "number") return label;
    const index = this.#classes.indexOf(label);
    if (index >= 0) return index;
    throw new ForgelingError("invalid_argument", "a label is no class", {
      operation,
      expected: this.#classes.join(", "),
      got: label,
    });
  }

  /** An error while `fit()` runs: waiting for it inside its own loop would never end. */
  #idle(operation: string): void {
    if (!this.#channel) return;
    throw new ForgelingError("invalid_argument", "training is under way", {
      operation,
      expected: "a call before or after fit()",
    });
  }
}
