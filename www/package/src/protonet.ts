import { binding, type Binding, type RawProtoNet, type RawTrainer } from "./binding.js";
import { Classifier, type Adaptation } from "./classifier.js";
import type { Dataset } from "./dataset.js";
import type { Device } from "./device.js";
import { ForgelingError, guarded } from "./errors.js";
import { camelKeys, camelTree, Handle } from "./handle.js";
import type { NetworkGraph, NetworkSummary } from "./network-graph.js";
import type { Method, MethodOptions, ProtoNetConfig } from "./protonet-config.js";
import { nextTask, throwIfAborted } from "./tasks.js";

export type { Method, MethodOptions, ProtoNetConfig } from "./protonet-config.js";

/** What a {@link ProtoNet} is made from. */
export interface ModelConfig {
  method: Method;
  /** The most classes of an episode, for methods that take gradient steps. */
  ways: number;
  /** Seed of the first weights. */
  seed: number;
  /** Input channels. */
  channels: number;
  /** Width and height of the input, in pixels; `null` where they differ. */
  size: number | null;
  /** How pictures become inputs, where that is known: drawings as by `imageToInk`, pictures as by `imageToPixels`. */
  pictures: { kind: "drawings" | "pictures"; fit: "crop" | "pad" | "stretch" } | null;
  /** The network, layer by layer; `{ model: config.network }` makes another one like it. */
  network: NetworkGraph;
}

/** How to train: every episode is a small task with `ways` classes. */
export interface FitOptions {
  /** Classes per episode. Default 5. */
  ways?: number;
  /** Examples per class to learn from. Default 5. */
  shots?: number;
  /** Examples per class to be asked about. Default 15. */
  queries?: number;
  /** Episodes per optimizer step. Default 1. */
  batchEpisodes?: number;
  /** Adam's learning rate at the start. Default 0.001. */
  learningRate?: number;
  /** Halve the learning rate after this many episodes, again and again. Default 2000. */
  halveEvery?: number;
  /** Turn, slant, stretch and move each training image a little at random. Default false. */
  augment?: boolean;
  /** Seed of the choice of episodes. Default 0. */
  seed?: number;
  /** Stop after this many episodes. Default 600 where `minutes` is absent, no limit otherwise. */
  episodes?: number;
  /** Stop after this many minutes of training. Default: no limit. */
  minutes?: number;
  /** Stops training between two steps; the generator then throws a `cancelled` error. */
  signal?: AbortSignal;
}

/** The state after one optimizer step. */
export interface FitEvent {
  /** Optimizer steps so far. */
  step: number;
  /** Episodes so far. */
  episode: number;
  /** Cross-entropy of this step's queries, in nats. */
  loss: number;
  /** Share of this step's queries that were right, 0..1. */
  accuracy: number;
  learningRate: number;
  episodesPerSecond: number;
}

/** How to measure. */
export interface EvaluateOptions {
  /** Classes per episode. Default 5. */
  ways?: number;
  /** Examples per class to learn from. Default 5. */
  shots?: number;
  /** Default 600, the number usual in papers. */
  episodes?: number;
  /** Default 0. */
  seed?: number;
  /** Let batch norm see all queries of an episode at once. Default false; the figures are higher with it. */
  transductive?: boolean;
}

/** The result of {@link ProtoNet.evaluate}. */
export interface Evaluation {
  /** Mean over the episodes, 0..1. */
  accuracy: number;
  /** Half the width of the 95 % confidence interval of `accuracy`. */
  ci95: number;
  episodes: number;
  transductive: boolean;
  episodesPerSecond: number;
  /** How far confidence is from accuracy: the expected calibration error over 15 bins, 0..1. */
  calibrationError: number;
  /** The accuracy of each episode, 0..1. */
  accuracies: number[];
}

/**
 * A network that learns to tell apart things it has never seen from a few examples of each: by default a prototypical
 * network (Snell et al. 2017, arXiv:1703.05175), or one of another {@link Method}.
 */
export class ProtoNet extends Handle<RawProtoNet> {
  readonly #module: Binding;

  private constructor(module: Binding, raw: RawProtoNet) {
    super(raw);
    this.#module = module;
  }

  /** A new network with random weights. */
  static create(device: Device, config: ProtoNetConfig & MethodOptions = {}): ProtoNet {
    const module = binding("create_model");
    const place = device.raw("create_model");
    return guarded("create_model", () => new ProtoNet(module, module.ProtoNet.create(place, config)));
  }

  /**
   * A network from a model file: that {@link ProtoNet.save} made, of `forgeling fewshot train`, or of a classifier, such as
   * `Trainer.save`, `forgeling train` and `forgeling import` make, whose features are then compared.
   */
  static async load(device: Device, bytes: Uint8Array): Promise<ProtoNet> {
    const module = binding("load_model");
    const raw = await device.run("load_model", (place) => module.ProtoNet.load(place, bytes));
    return new ProtoNet(module, raw);
  }

  /** The network as a safetensors file, its configuration included. */
  save(): Promise<Uint8Array> {
    return this.run("save_model", (raw) => raw.save());
  }

  /** What it is made from. */
  get config(): ModelConfig {
    return this.call("config", (raw) => raw.config as ModelConfig);
  }

  /** The network layer by layer. What a method has beside it, such as the comparison of `relation`, is not in it. */
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

  /**
   * Trains, and reports after every step. Between two steps it lets the event loop run, so messages and
   * timers are served; leaving the loop with `break` stops training and keeps what was learned.
   */
  async *fit(data: Dataset, options: FitOptions = {}): AsyncGenerator<FitEvent, void, void> {
    const { episodes, minutes, signal, ...rest } = options;
    const limit = limits(episodes, minutes);
    const images = data.raw("fit");
    throwIfAborted(signal);
    const trainer = this.call("fit", (raw) => {
      return new TrainerHandle(new this.#module.Trainer(raw, images, rest));
    });
    let failed = true;
    try {
      const end = performance.now() + limit.minutes * 60_000;
      for (let episode = 0; episode < limit.episodes && performance.now() < end; ) {
        failed = true;
        throwIfAborted(signal);
        const event = await this.run("fit", () => data.run("fit", () => trainer.step()));
        episode = event.episode;
        failed = false;
        yield event;
        await nextTask();
      }
    } finally {
      trainer.free();
      // Also where the loop was left with `break`.
      if (!failed) this.call("fit", (raw) => raw.finish(images));
    }
  }

  /** Measures the network on episodes from `data`, whose classes it should not have seen in training. */
  async evaluate(data: Dataset, options: EvaluateOptions = {}): Promise<Evaluation> {
    const row = await this.run("evaluate", (raw) => {
      return data.run("evaluate", (images) => raw.evaluate(images, options));
    });
    return camelKeys<Evaluation>(row);
  }

  /**
   * An empty classifier on this network as it is now; make a new one after training further. `adaptation` says what it
   * makes of its examples; the network itself is never changed by them.
   */
  classifier(adaptation: Adaptation = "method"): Classifier {
    const chosen = typeof adaptation === "string" ? { name: adaptation } : adaptation;
    return this.call("classifier", (raw) => new Classifier(raw.classifier(chosen), raw.config as ModelConfig));
  }
}

class TrainerHandle extends Handle<RawTrainer> {
  async step(): Promise<FitEvent> {
    return camelKeys<FitEvent>(await this.run("fit", (raw) => raw.step()));
  }
}

function limits(episodes?: number, minutes?: number): { episodes: number; minutes: number } {
  for (const [name, value] of Object.entries({ episodes, minutes })) {
    if (value === undefined || value > 0) continue;
    throw new ForgelingError("invalid_argument", `${name} must be above 0`, {
      operation: "fit",
      expected: "a number above 0",
      got: String(value),
    });
  }
  return {
    episodes: episodes ?? (minutes === undefined ? 600 : Infinity),
    minutes: minutes ?? Infinity,
  };
}
