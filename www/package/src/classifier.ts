import type { RawClassifier } from "./binding.js";
import { ForgelingError } from "./errors.js";
import { camelKeys, camelTree, Handle } from "./handle.js";
import { imageToInk } from "./ink.js";
import type { Picture } from "./picture/raster.js";
import { imageToPixels } from "./pixels.js";
import { nextTask, throwIfAborted } from "./tasks.js";

/** One possible answer. */
export interface Prediction {
  label: string;
  /** 0..1; those of all labels add up to 1. */
  probability: number;
}

/**
 * How a fine-tuning goes on, and when it ends. Where every class has 3 examples or more, a part of them is held out
 * first, to find the best number of epochs, 0 included; all are then trained on for so many.
 */
export interface FineTuneOptions {
  /** The most epochs. Default 100. */
  epochs?: number;
  /** Adam's. Default 0.003. */
  learningRate?: number;
  /** Epochs without improvement after which to stop. Default 10. */
  patience?: number;
  /** The part of each class's examples that is held out, 0..1. Default 0.2. */
  heldOut?: number;
  /** Part of itself that a parameter loses at each step, times the learning rate. Default 0. */
  weightDecay?: number;
  /** Seed of what is held out and in which order. Default 0. */
  seed?: number;
}

/** Low-rank adapters (Hu et al. 2022, arXiv:2106.09685) of every convolution. */
export interface LoraOptions {
  /** Columns of a factor. Default 4. */
  rank?: number;
  /** What, divided by the rank, the product of two factors is multiplied with. Default 4. */
  alpha?: number;
  fineTune?: FineTuneOptions;
}

/**
 * What a classifier makes of its examples:
 *
 * - `method` (default): what the model was trained for;
 * - `prototypes`: the nearest class means in the feature space, whatever the model was trained for;
 * - `lda`: linear discriminants of the features, in closed form: as `prototypes`, but a distance counts less along which
 *   examples of one class differ much;
 * - `ridge`: ridge regression of the features on the class, in closed form;
 * - `head`: a linear layer on the features, trained on the examples;
 * - `lora`: that and low-rank adapters of the convolutions, for images unlike those of the training; wants 5 or more
 *   examples of each class.
 *
 * With `mirrored`, features are the mean of those of each image and of its mirror image: for things whose left and right
 * mean nothing, as in most photographs; not with `lora`, nor for methods that take gradient steps.
 */
export type Adaptation =
  | "method"
  | "prototypes"
  | "lda"
  | "ridge"
  | "head"
  | "lora"
  | { name: "method" | "prototypes" | "lda" | "ridge"; mirrored?: boolean }
  | ({ name: "head"; mirrored?: boolean } & FineTuneOptions)
  | ({ name: "lora" } & LoraOptions);

/** An epoch of a fine-tuning. */
export interface FineTuneEvent {
  /** Whether a part of the examples is held out, to find the number of epochs. */
  searching: boolean;
  /** Epochs so far. */
  epoch: number;
  /** The most epochs of this part. */
  epochs: number;
  /** Mean cross-entropy of the examples that are trained on, in nats. */
  loss: number;
  /** The same of those held out, while searching. */
  heldOutLoss: number | null;
  /** Share of those held out that are right, 0..1, while searching. */
  heldOutAccuracy: number | null;
}

/** What adapting came to. */
export interface AdaptSummary {
  name: "method" | "prototypes" | "lda" | "ridge" | "head" | "lora";
  seconds: number;
  /** The training, where there was some. */
  fineTune: {
    /** Epochs on all examples; 0 where those held out said that no training is best. */
    epochs: number;
    loss: number | null;
    heldOutAccuracy: number | null;
    stoppedEarly: boolean;
  } | null;
}

/** How to follow {@link Classifier.adapt}. */
export interface AdaptOptions {
  /** Called after every epoch. */
  report?: (event: FineTuneEvent) => void;
  /** Stops after an epoch; the promise is then rejected as `cancelled`. */
  signal?: AbortSignal;
}

/**
 * Sorts images into classes that you define by example, in the way that the model was trained for or an
 * {@link Adaptation} says. By default each class is the mean of its examples in the model's feature space, and an image
 * belongs to the nearest (Snell et al. 2017, arXiv:1703.05175). A class can come or go at any time.
 */
export class Classifier extends Handle<RawClassifier> {
  readonly #input: ClassifierInput;

  /** @internal */
  constructor(raw: RawClassifier, input: ClassifierInput) {
    super(raw);
    this.#input = input;
  }

  /**
   * Adds one example; a new label makes a new class. `image` holds as many values as the model's input, or is a picture, which
   * becomes an input as the model's own pictures did; a model that was not told how, as one trained in a page, takes values.
   */
  async add(label: string, image: Float32Array | Picture): Promise<void> {
    const values = this.#values("classifier_add", image);
    await this.run("classifier_add", (raw) => raw.add(label, values));
  }

  /** Forgets a class with all its examples. */
  remove(label: string): void {
    this.call("classifier_remove", (raw) => raw.remove(label));
  }

  /** The labels known so far. */
  get labels(): string[] {
    return this.call("classifier_labels", (raw) => raw.labels());
  }

  /**
   * Adapts to the examples now, rather than with the first image after they have changed. Before each step of a
   * fine-tuning the page has its turn. One that is stopped or fails changes nothing: what answered before still does, or
   * else the prototypes.
   */
  async adapt({ report, signal }: AdaptOptions = {}): Promise<AdaptSummary> {
    throwIfAborted(signal, "adapt");
    let broken: { cause: unknown } | undefined;
    const tell = (event: object) => {
      try {
        report?.(camelKeys<FineTuneEvent>(event));
      } catch (cause) {
        broken = { cause };
      }
      return broken !== undefined || signal?.aborted === true;
    };
    try {
      const summary = await this.run("adapt", (raw) => raw.adapt(() => nextTask(), tell));
      return camelTree<AdaptSummary>(summary);
    } catch (cause) {
      throw broken ? broken.cause : cause;
    }
  }

  /** All labels with their probabilities, the most probable first. `image` is as in {@link add}. */
  async classify(image: Float32Array | Picture): Promise<Prediction[]> {
    const values = this.#values("classify", image);
    return (await this.run("classify", (raw) => raw.classify(values))) as Prediction[];
  }

  #values(operation: string, image: Float32Array | Picture): Float32Array {
    if (image instanceof Float32Array) return image;
    const { channels, size, pictures } = this.#input;
    const refused = (message: string, expected: string): never => {
      throw new ForgelingError("invalid_argument", message, { operation, expected, got: "a picture" });
    };
    if (!pictures || size === null || (channels !== 1 && channels !== 3)) {
      return refused("the model does not say how pictures become its inputs", "values, as of imageToInk or imageToPixels");
    }
    if (pictures.kind === "drawings") {
      if (channels !== 1) return refused("drawings have one channel", `values of ${channels} channels`);
      return imageToInk(image, size);
    }
    if (pictures.fit !== "crop") return refused(`the model's pictures were made square by '${pictures.fit}'`, "values");
    return imageToPixels(image, size, channels);
  }
}

/** What a classifier's model takes. @internal */
export interface ClassifierInput {
  channels: number;
  size: number | null;
  pictures: { kind: "drawings" | "pictures"; fit: "crop" | "pad" | "stretch" } | null;
}
