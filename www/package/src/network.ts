import { binding, type RawNetwork } from "./binding.js";
import type { Prediction } from "./classifier.js";
import type { Device } from "./device.js";
import { camelTree, Handle } from "./handle.js";
import type { NetworkGraph, NetworkSummary } from "./network-graph.js";
import { valuesOf, type ExampleShape, type Images } from "./pixels.js";
import type { Validation } from "./training.js";

/** What a {@link Network} is made from, and what its file says of it: its model card. */
export interface NetworkConfig {
  /** Its name in {@link MODELS}; `"graph"` of one's own. */
  model: string;
  /** The images or rows that it takes. */
  input: ExampleShape;
  /** The names of the classes. */
  classes: string[];
  /** The network, layer by layer; a {@link Trainer} takes it as its `model`. */
  network: NetworkGraph;
  /**
   * How pictures become its inputs, where that is known: `drawings`, whose light is levelled, framed as a whole or around
   * their ink; or `pictures`, whose colours stay, cropped, padded or stretched to a square.
   */
  pictures: { kind: "drawings" | "pictures"; fit: "crop" | "pad" | "stretch"; framing?: "whole" | "ink" } | null;
  /** How each channel is standardised, `(x - mean) / deviation` of values from 0 to 1. */
  normalization: { mean: number[]; deviation: number[] } | null;
  /** Where its weights are from, as far as that is known. */
  card: { resampling?: "bilinear" | "bicubic"; source?: string; license?: string };
}

/** How a {@link Network} was trained. */
export interface NetworkTraining {
  /** Optimizer steps. */
  steps: number;
  /** Times through the examples. */
  epochs: number;
  /** Examples. */
  examples: number;
  /** How it does on examples that it was not trained on, if that was looked at. */
  validation: Validation | null;
}

/** A classifier that {@link Trainer.save} has made a file of. */
export class Network extends Handle<RawNetwork> {
  /** A network from the bytes of a file. */
  static async load(device: Device, bytes: Uint8Array): Promise<Network> {
    const module = binding("load_model");
    return new Network(await device.run("load_model", (place) => module.Network.load(place, bytes)));
  }

  /** The names of the classes. */
  get classes(): string[] {
    return this.call("classes", (raw) => raw.classes);
  }

  /** What it is made from. */
  get config(): NetworkConfig {
    return this.call("config", (raw) => raw.config as NetworkConfig);
  }

  /** How it was trained. */
  get training(): NetworkTraining {
    return this.call("training", (raw) => camelTree(raw.training));
  }

  /** The network layer by layer. */
  summary(): NetworkSummary {
    return this.call("summary", (raw) => camelTree(raw.summary()));
  }

  /** For each image or row, all classes with their probabilities, the most probable first. */
  async predict(images: Images): Promise<Prediction[][]> {
    const { classes } = this;
    const input = this.call("predict", (raw) => raw.input as ExampleShape);
    const values = valuesOf("predict", images, input);
    return predictions(classes, await this.run("predict", (raw) => raw.predict(values)));
  }
}

/** Probabilities, example by example, with the names of the classes. @internal */
export function predictions(classes: readonly string[], found: Float32Array): Prediction[][] {
  return Array.from({ length: found.length / classes.length }, (_, row) =>
    classes
      .map((label, index) => ({ label, probability: found[row * classes.length + index]! }))
      .sort((a, b) => b.probability - a.probability),
  );
}
