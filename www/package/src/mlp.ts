import { binding, type RawMlp } from "./binding.js";
import type { Device } from "./device.js";
import { guarded } from "./errors.js";
import { Handle } from "./handle.js";
import { classes } from "./tasks.js";

/** The shape of the perceptron. */
export interface MlpConfig {
  /** Values of an image. Default 784, which is 28×28. */
  inputs?: number;
  /** Neurons of each hidden layer. Default `[128]`; none make it a linear classifier. */
  hidden?: number[];
  /** Default 10. */
  classes?: number;
  /** Seed of the first weights. Default 0. */
  seed?: number;
}

/**
 * A multilayer perceptron: it learns which of a fixed number of classes an image belongs to. Hidden layers
 * have ReLU; Adam takes the mean cross-entropy down.
 */
export class Mlp extends Handle<RawMlp> {
  private constructor(raw: RawMlp) {
    super(raw);
  }

  /** A new perceptron with random weights. */
  static create(device: Device, config: MlpConfig = {}): Mlp {
    const module = binding("create_model");
    const place = device.raw("create_model");
    return guarded("create_model", () => new Mlp(module.Mlp.create(place, config)));
  }

  /** How many numbers training adjusts. */
  get trainedValues(): number {
    return this.call("trained_values", (raw) => raw.trainedValues);
  }

  /** How many others there are: none. */
  get bufferValues(): number {
    return this.call("buffer_values", (raw) => raw.bufferValues);
  }

  /**
   * One optimizer step on images, all values one after the other, with a label each: a class from 0 on.
   * Resolves to the loss before the step, in nats. `rate` is the learning rate, default 0.001.
   */
  trainStep(images: Float32Array, labels: ArrayLike<number>, rate = 1e-3): Promise<number> {
    return this.run("train_step", async (raw) => raw.trainStep(images, classes("train_step", labels), rate));
  }

  /** The most probable class of each image. */
  async classify(images: Float32Array): Promise<number[]> {
    return Array.from(await this.run("classify", (raw) => raw.classify(images)));
  }
}
