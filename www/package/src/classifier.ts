import type { RawClassifier } from "./binding.js";
import { Handle } from "./handle.js";

/** One possible answer. */
export interface Prediction {
  label: string;
  /** 0..1; those of all labels add up to 1. */
  probability: number;
}

/**
 * Sorts images into classes that you define by example: each class is the mean of its examples in the
 * model's feature space, and an image belongs to the nearest (Snell et al. 2017, arXiv:1703.05175).
 * A class can come or go at any time, without training.
 */
export class Classifier extends Handle<RawClassifier> {
  /** Adds one example; a new label makes a new class. `image` holds as many values as the model's input. */
  add(label: string, image: Float32Array): Promise<void> {
    return this.run("classifier_add", (raw) => raw.add(label, image));
  }

  /** Forgets a class with all its examples. */
  remove(label: string): void {
    this.call("classifier_remove", (raw) => raw.remove(label));
  }

  /** The labels known so far. */
  get labels(): string[] {
    return this.call("classifier_labels", (raw) => raw.labels());
  }

  /** All labels with their probabilities, the most probable first. */
  async classify(image: Float32Array): Promise<Prediction[]> {
    return (await this.run("classify", (raw) => raw.classify(image))) as Prediction[];
  }
}
