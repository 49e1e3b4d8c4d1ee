import { binding, type RawNetwork } from "./binding.js";
import type { Prediction } from "./classifier.js";
import type { Device } from "./device.js";
import { Handle } from "./handle.js";
import { valuesOf, type ExampleShape, type Images } from "./pixels.js";

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

  /** For each image or row, all classes with their probabilities, the most probable first. */
  async predict(images: Images): Promise<Prediction[][]> {
    const { classes } = this;
    const { input } = this.call("predict", (raw) => raw.config as { input: ExampleShape });
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
