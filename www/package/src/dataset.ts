import { binding, type RawDataset } from "./binding.js";
import { ForgelingError, guarded } from "./errors.js";
import { Handle } from "./handle.js";

/** Drawn characters that are generated, so that nothing has to be downloaded. */
export interface GlyphOptions {
  /** Default 0. The same seed gives the same characters, in every browser and on the desktop. */
  seed?: number | bigint;
  /** The two splits share no character. Default `train`. */
  split?: "train" | "test";
  /** How many different characters; each is drawn when it is needed. Default 1000. */
  classes?: number;
  /** Width and height, in pixels. Default 28. */
  size?: number;
}

/** Images of your own with their classes. */
export interface ImageOptions {
  /** `names[i]` is the class of image `i`. */
  names: string[];
  /** Height of every image, in pixels. */
  height: number;
  /** Width of every image, in pixels. */
  width: number;
  /** Default 1. */
  channels?: number;
  /** All images one after the other, each `channels × height × width`, values in 0..1, ink = 1. */
  pixels: Float32Array;
}

/** Images sorted into classes: what a model learns from or is measured on. */
export class Dataset extends Handle<RawDataset> {
  /** Generated characters; see {@link GlyphOptions}. */
  static glyphs(options: GlyphOptions = {}): Dataset {
    const module = binding("glyphs");
    const { seed = 0, split = "train", classes = 1000, size = 28 } = options;
    return guarded("glyphs", () => {
      return new Dataset(module.Dataset.glyphs(seedOf(seed), split, classes, size));
    });
  }

  /** Your own images. Every class needs at least `shots + queries` of them to train with. */
  static fromImages(options: ImageOptions): Dataset {
    const module = binding("from_images");
    const { names, height, width, channels = 1, pixels } = options;
    const expected = names.length * channels * height * width;
    if (pixels.length !== expected) {
      throw new ForgelingError("invalid_argument", "names and pixels do not fit together", {
        operation: "from_images",
        expected: `${expected} values (${names.length} × ${channels} × ${height} × ${width})`,
        got: `${pixels.length} values`,
      });
    }
    return guarded("from_images", () => {
      return new Dataset(module.Dataset.fromImages(names, channels, height, width, pixels));
    });
  }

  /** How many classes there are. */
  get classCount(): number {
    return this.call("class_count", (raw) => raw.classCount);
  }

  /** Colour channels per image. */
  get channels(): number {
    return this.call("channels", (raw) => raw.channels);
  }

  /** Height of an image, in pixels. */
  get height(): number {
    return this.call("height", (raw) => raw.height);
  }

  /** Width of an image, in pixels. */
  get width(): number {
    return this.call("width", (raw) => raw.width);
  }

  /** The name of a class, counted from 0. */
  className(index: number): string {
    return this.call("class_name", (raw) => raw.className(index));
  }

  /** One image as `channels × height × width` values in 0..1; both indices count from 0. */
  image(classIndex: number, example: number): Float32Array {
    return this.call("image", (raw) => raw.image(classIndex, example));
  }
}

function seedOf(seed: number | bigint): bigint {
  if (typeof seed === "bigint" ? seed >= 0n : Number.isSafeInteger(seed) && seed >= 0) {
    return BigInt(seed);
  }
  throw new ForgelingError("invalid_argument", "a seed is a whole number", {
    operation: "glyphs",
    expected: "a whole number from 0 up",
    got: String(seed),
  });
}
