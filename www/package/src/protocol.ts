// What a page and its worker say to each other. The same interface types both ends, so a call that one
// end does not know is a compile error.
import type { AdaptSummary, Adaptation, FineTuneEvent, Prediction } from "./classifier.js";
import type { GlyphOptions, ImageOptions } from "./dataset.js";
import type { DeviceChoice, DeviceInfo, WarmUpEvent } from "./device.js";
import type { ErrorJson } from "./errors.js";
import type { MlpConfig } from "./mlp.js";
import type { NetworkSummary } from "./network-graph.js";
import type {
  EvaluateOptions,
  Evaluation,
  FitEvent,
  FitOptions,
  MethodOptions,
  ModelConfig,
  ProtoNetConfig,
} from "./protonet.js";

/** Where images come from: a dataset itself cannot cross to the worker, its description can. */
export type DataSource = { glyphs: GlyphOptions } | { images: ImageOptions };

/** A model that lives in the worker. */
export interface ModelInfo {
  config: ModelConfig;
  /** How many numbers training adjusts. */
  trainedValues: number;
  /** How many others there are: running statistics. */
  bufferValues: number;
}

/** {@link FitOptions} without the signal, which `stop()` replaces. */
export type TrainOptions = Omit<FitOptions, "signal">;

/** How a training run ended. */
export interface TrainSummary {
  /** Whether `stop()` ended it early. */
  stopped: boolean;
  /** Wall time, in seconds. */
  seconds: number;
  /** The last event; absent where `stop()` came before the first step. */
  last?: FitEvent;
}

/** A few images of a few classes, to look at. */
export interface Sample {
  height: number;
  width: number;
  /** `classes[c].images[e]` is example `e` of class `c`. */
  classes: { name: string; images: Float32Array[] }[];
}

/** A perceptron that lives in the worker. */
export interface MlpInfo {
  /** How many numbers training adjusts. */
  trainedValues: number;
  /** How many others there are: none. */
  bufferValues: number;
}

export interface Operations {
  init(wasm?: string): void;
  openDevice(choice?: DeviceChoice): DeviceInfo;
  warmUp(config?: ProtoNetConfig & MethodOptions): void;
  createModel(config?: ProtoNetConfig & MethodOptions): ModelInfo;
  loadModel(bytes: Uint8Array): ModelInfo;
  saveModel(): Uint8Array;
  summary(): NetworkSummary;
  sample(data: DataSource, classes: number, examples: number): Sample;
  train(data: DataSource, options?: TrainOptions): TrainSummary;
  evaluate(data: DataSource, options?: EvaluateOptions): Evaluation;
  addExample(label: string, image: Float32Array): void;
  removeLabel(label: string): void;
  resetClassifier(adaptation?: Adaptation): void;
  adapt(): AdaptSummary;
  labels(): string[];
  classify(image: Float32Array): Prediction[];
  createMlp(config?: MlpConfig): MlpInfo;
  trainMlp(images: Float32Array, labels: ArrayLike<number>, rate?: number): number;
  classifyMlp(images: Float32Array): number[];
}

export type Operation = keyof Operations;

export type Request =
  | { [K in Operation]: { id: number; operation: K; args: Parameters<Operations[K]> } }[Operation]
  | { stop: true };

export type Reply =
  | { id: number; event: FitEvent | WarmUpEvent | FineTuneEvent }
  | { id: number; value: unknown }
  | { id: number; error: ErrorJson };

/** The part of a `Worker`, a worker's global scope and a `MessagePort` that is used here. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent) => unknown) | null;
}
