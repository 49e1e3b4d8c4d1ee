// A network as a plain object: its layers, from an input of one shape to an output. What a layer says is what
// `crates/forgeling/src/nn/graph/layer.rs` reads.
import type { LAYERS, MODELS } from "./models.js";

/** The networks by name; {@link MODELS} tells what each is. */
export type ModelName = keyof typeof MODELS;

/** What a layer can be. */
export type LayerKind = (typeof LAYERS)[number];

/** Sizes of one example: channels, rows and columns; tokens and their width; or a number of values. */
export type Shape = readonly [number] | readonly [number, number] | readonly [number, number, number];

/** Rows and columns; one number stands for both. */
export type Pair = number | readonly [number, number];

/**
 * From what distribution weights are drawn, uniformly: `uniform` (default) in ±1/√inputs, `he` in ±√(6/outputs), `glorot`
 * in ±√(6/(inputs + outputs)).
 */
export type Initial = "uniform" | "he" | "glorot";

/** Convolution of maps. */
export interface Conv2dOptions {
  /** Channels of the output. */
  filters: number;
  /** Rows and columns of the window. */
  kernel: Pair;
  /** Rows and columns from one window to the next. Default 1. */
  stride?: Pair;
  /**
   * Rows of zeros above and below, columns left and right. Default 0; `"same"` is half of an odd kernel, `"sameUpper"` what
   * TensorFlow calls SAME: as few as give `side / stride` windows, an odd one below or right.
   */
  padding?: Pair | "same" | "sameUpper";
  /** Groups of channels, each convolved by itself. Default 1. */
  groups?: number;
  /** Whether a value is added to each channel. Default true. */
  bias?: boolean;
  initial?: Initial;
  /** Whether it works in 8 bits, on what a `quantize` layer rounded. Default false. */
  int8?: boolean;
}

/** A norm. */
export interface NormOptions {
  /** What is added to the variance, from 1e-12 to 1. Default 1e-5. */
  epsilon?: number;
}

/** A layer of neurons on values, or on each token. */
export interface LinearOptions {
  /** Neurons. */
  outputs: number;
  /** Whether a value is added to each. Default true. */
  bias?: boolean;
  initial?: Initial;
  /** Whether it works in 8 bits, on what a `quantize` layer rounded. Default false. */
  int8?: boolean;
}

/** A window that moves over maps. */
export interface WindowOptions {
  /** Rows and columns. Default 2. */
  size?: Pair;
  /** Rows and columns from one window to the next. Default 2. */
  stride?: Pair;
  /** Rows above and below, columns left and right that windows may reach beyond the maps. Default 0. */
  padding?: Pair;
}

/** Cuts maps into square patches and describes each by numbers. */
export interface PatchesOptions {
  /** Rows and columns of a patch, which divide those of the maps. */
  size: number;
  /** Numbers that describe a patch. */
  width: number;
  /** Whether a learned token goes before those of the patches. Default false. */
  classToken?: boolean;
  /** Whether it works in 8 bits, on what a `quantize` layer rounded. Default false. */
  int8?: boolean;
}

/** Attention of all tokens to all. */
export interface AttentionOptions {
  /** Heads, which divide the width of the tokens unless `headWidth` is told. */
  heads: number;
  /** Whether queries, keys and values come of one layer of neurons. Default false. */
  fused?: boolean;
  /** Numbers of a query, of a key and of a value of each head. Default the width divided by the heads. */
  headWidth?: number;
  /** The factor of the scores. Default one over the root of `headWidth`. */
  scale?: number;
  /** Whether it works in 8 bits, on what a `quantize` layer rounded. Default false. */
  int8?: boolean;
  /** Which of 0 to 255 stands for 0 in what the heads have seen. Default 0. */
  contextZeroPoint?: number;
}

/** How bright red, green and blue are. */
export interface LuminanceOptions {
  /** Shares of 0.2126, 0.7152 and 0.0722 (ITU-R BT.709), or of 0.299, 0.587 and 0.114 (BT.601). Default `"bt709"`. */
  standard?: "bt709" | "bt601";
  /** What was subtracted from red, green and blue when images were standardised, which this undoes. Default 0 each. */
  mean?: readonly [number, number, number];
  /** What they were then divided by. Default 1 each. */
  deviation?: readonly [number, number, number];
}

/** Some of the channels of maps, which lie side by side. */
export interface ChannelsOptions {
  /** Channels before the first. Default 0. */
  from?: number;
  /** How many. */
  count: number;
}

/** A weighted sum whose weights are learned. */
export interface MixOptions {
  /** The weight that the last of the `inputs` starts with, above 0 and below 1. Default: all start alike. */
  lastShare?: number;
}

/** Values rounded to 8 bits. */
export interface QuantizeOptions {
  /** Which of 0 to 255 stands for 0. Default 0. */
  zeroPoint?: number;
}

/** Of a layer that has no options. */
export type NoOptions = Record<string, never>;

/** The options of each layer. */
export interface LayerOptions {
  conv2d: Conv2dOptions;
  /** Maps, each channel normalised over the batch, then scaled and shifted. */
  batchNorm: NormOptions;
  /** Each token, or each row of values, normalised by itself, then scaled and shifted. */
  layerNorm: NormOptions;
  linear: LinearOptions;
  relu: NoOptions;
  /** ReLU of at most 6. */
  relu6: NoOptions;
  gelu: NoOptions;
  /** The largest value of each window; a number is its size and its stride. */
  maxPool: WindowOptions | number;
  /** The mean of each window; a number is its size and its stride. */
  meanPool: WindowOptions | number;
  /** The mean of each map, or over all tokens: what is left are values. */
  globalMeanPool: NoOptions;
  /** The first token, as values: a class token. */
  firstToken: NoOptions;
  /** Maps as values, channel after channel. */
  flatten: NoOptions;
  /** How bright maps of red, green and blue are, as one map. */
  luminance: LuminanceOptions;
  /** Some of the channels of maps. */
  channels: ChannelsOptions;
  /** The sum of two or more `inputs` of one shape. */
  add: NoOptions;
  /** Two or more `inputs` of one shape, weighted by the softmax of learned numbers. */
  mix: MixOptions;
  /** The channels, or values, of all `inputs` one after the other. */
  concat: NoOptions;
  patches: PatchesOptions;
  attention: AttentionOptions;
  /** Values rounded to 256 multiples of a scale. */
  quantize: QuantizeOptions;
}

/** Layers whose name alone will do: all options have defaults. */
type Plain = { [K in LayerKind]: NoOptions extends LayerOptions[K] ? K : never }[LayerKind];

/** What a layer may say beside its options. */
interface Place {
  /** Letters, digits, `-` and `_`, in parts that dots join; the parts before the last dot group layers. Default: its kind with a number. */
  name?: string;
  /** The names of the layers whose outputs it takes, or `"input"`. Default: the layer before. */
  inputs?: readonly string[];
  /** Weights are drawn from a stream of numbers of their own where this is not 0. Default 0. */
  stream?: number;
}

/** A layer with its options: an object with one key that is its kind, and {@link Place}. */
type Described = {
  [K in LayerKind]: { [L in K]: LayerOptions[L] } & { [L in Exclude<LayerKind, K>]?: never } & Place;
}[LayerKind];

/** A layer: `"relu"`, `{ conv2d: { filters: 32, kernel: 3 } }`, `{ add: {}, inputs: ["a", "b"] }`. */
export type LayerDescription = Plain | Described;

/**
 * A network of one's own. Sizes of inputs are never written down: they follow from `input`.
 *
 * ```js
 * const network = {
 *   input: [1, 28, 28],
 *   layers: [{ conv2d: { filters: 32, kernel: 3, padding: "same" } }, "batchNorm", "relu", "maxPool", "flatten"],
 * };
 * ```
 */
export interface NetworkGraph {
  /** What an example is: `[channels, rows, columns]`, `[tokens, width]` or `[values]`. */
  input: Shape;
  /** From first to last; a layer takes only what comes before it. */
  layers: readonly LayerDescription[];
  /** The name of the layer whose output is the network's. Default: the last one. */
  output?: string;
  /** The name of the layer that gives features to compare. Default: what the last layer of neurons takes. */
  features?: string;
}

/** A network with its sizes, layer by layer and in all. */
export interface NetworkSummary {
  /** What an example is. */
  input: Shape;
  /** What comes out. */
  output: Shape;
  /** What is compared where features are compared. */
  features: Shape;
  /** Values that training changes. */
  trainedValues: number;
  /** Values that it does not change: running statistics. */
  bufferValues: number;
  /** Multiplications with additions for one example. */
  multiplyAdds: number;
  /** From first to last. */
  layers: LayerSummary[];
}

/** A layer of a {@link NetworkSummary}. */
export interface LayerSummary {
  name: string;
  layer: LayerKind;
  /** What comes out. */
  output: Shape;
  /** Values that training changes. */
  trainedValues: number;
  /** Values that it does not change. */
  bufferValues: number;
  /** Multiplications with additions for one example. */
  multiplyAdds: number;
}
