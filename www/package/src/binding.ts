// The shape of the generated wasm module, and where it is kept once loaded. Everything generated is
// reached through here, so that importing the package loads nothing and tests can bring their own.
import { ForgelingError } from "./errors.js";

export interface RawHandle {
  free(): void;
}
export interface RawDevice extends RawHandle {
  readonly kind: string;
  readonly name: string;
  readonly backend: string;
  readonly reason: string;
  warmUp(config: object, report: (event: { done: number; total: number }) => void): Promise<void>;
  adapters(): Promise<object[]>;
  memory(): object;
}
export interface RawProfiling extends RawHandle {
  /** The object is gone after this. */
  finish(): Promise<object>;
}
export interface RawNetwork extends RawHandle {
  readonly classes: string[];
  readonly config: object;
  readonly input: object;
  readonly training: object;
  summary(): object;
  predict(values: Float32Array): Promise<Float32Array>;
}
export interface RawClassifierTrainer extends RawHandle {
  readonly trainedValues: number;
  readonly bufferValues: number;
  readonly steps: number;
  readonly input: object;
  summary(): object;
  add(values: Float32Array, labels: Uint32Array): void;
  counts(): Uint32Array;
  fit(
    pace: () => Promise<void>,
    report: (event: object) => boolean,
    keep: boolean,
    save: ((step: number, bytes: Uint8Array) => string) | undefined,
    places: string[],
    found: Uint8Array[],
  ): Promise<object>;
  rehearse(steps: number, pace: () => Promise<void>): Promise<void>;
  checkpoint(): Uint8Array | undefined;
  predict(values: Float32Array): Promise<Float32Array>;
  save(): Promise<Uint8Array>;
  plan(batch?: number): object;
  report(): object;
}
export interface RawDataset extends RawHandle {
  readonly classCount: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  className(index: number): string;
  image(classIndex: number, example: number): Float32Array;
}
export interface RawProtoNet extends RawHandle {
  readonly config: object;
  readonly trainedValues: number;
  readonly bufferValues: number;
  summary(): object;
  save(): Promise<Uint8Array>;
  evaluate(data: RawDataset, options: object): Promise<object>;
  finish(data: RawDataset): void;
  classifier(adaptation?: object): RawClassifier;
}
export interface RawTrainer extends RawHandle {
  step(): Promise<object>;
}
export interface RawClassifier extends RawHandle {
  add(label: string, pixels: Float32Array): Promise<void>;
  remove(label: string): void;
  labels(): string[];
  adapt(pace: () => Promise<void>, report: (event: object) => boolean): Promise<object>;
  classify(pixels: Float32Array): Promise<object[]>;
}
export interface RawMlp extends RawHandle {
  readonly trainedValues: number;
  readonly bufferValues: number;
  trainStep(images: Float32Array, labels: Uint32Array, rate: number): Promise<number>;
  classify(images: Float32Array): Promise<Uint32Array>;
}
export interface RawContinual extends RawHandle {
  readonly classes: number;
  readonly steps: number;
  readonly input: object;
  learn(
    values: Float32Array,
    labels: Uint32Array,
    pace: () => Promise<void>,
    report: (event: object) => boolean,
  ): Promise<object>;
  endTask(
    values: Float32Array | undefined,
    labels: Uint32Array | undefined,
    pace: () => Promise<void>,
  ): Promise<Float64Array>;
  accuracyMatrix(): number[][];
  classify(values: Float32Array): Promise<Uint32Array>;
  predict(values: Float32Array): Promise<Float32Array>;
  save(): Promise<Uint8Array>;
}
export interface Binding {
  default(input?: { module_or_path: InitInput }): Promise<unknown>;
  version(): string;
  openDevice(choice: string): Promise<RawDevice>;
  Dataset: {
    glyphs(seed: bigint, split: string, classes: number, size: number): RawDataset;
    fromImages(
      names: string[],
      channels: number,
      height: number,
      width: number,
      pixels: Float32Array,
    ): RawDataset;
  };
  ProtoNet: {
    create(device: RawDevice, config: object): RawProtoNet;
    load(device: RawDevice, bytes: Uint8Array): Promise<RawProtoNet>;
  };
  Mlp: {
    create(device: RawDevice, config: object): RawMlp;
  };
  Profiling: {
    start(device: RawDevice, options: object): RawProfiling;
  };
  ClassifierTrainer: {
    create(device: RawDevice, options: object): RawClassifierTrainer;
  };
  Continual: {
    create(device: RawDevice, options: object): RawContinual;
    load(device: RawDevice, bytes: Uint8Array, hardware: object): RawContinual;
  };
  Network: {
    load(device: RawDevice, bytes: Uint8Array): Promise<RawNetwork>;
  };
  // A constructor's parameters are compared strictly, and the generated classes have more members than
  // the interfaces above: hence `any` for the two.
  Trainer: new (model: any, data: any, options: object) => RawTrainer;
}

/** Where the wasm comes from: an address, a response, its bytes, or a compiled module. */
export type InitInput = string | URL | Request | Response | BufferSource | WebAssembly.Module;

type Loader = () => Promise<Binding>;
const generated: Loader = () => import("../wasm/forgeling.js");

let loader: Loader = generated;
let loaded: Binding | undefined;
let loading: Promise<void> | undefined;

/**
 * Loads and starts the wasm. Call it once before anything else; later and concurrent calls share the
 * first one's promise, and after a failure the next call tries again.
 *
 * @param input where the wasm comes from; default: the file beside this package's JavaScript.
 */
export function init(input?: InitInput): Promise<void> {
  loading ??= start(input).catch((cause: unknown) => {
    loading = undefined;
    throw cause;
  });
  return loading;
}

async function start(input?: InitInput): Promise<void> {
  try {
    const binding = await loader();
    await binding.default(input === undefined ? undefined : { module_or_path: input });
    loaded = binding;
  } catch (cause) {
    const known = ForgelingError.from(cause, "init");
    if (known.code !== "internal") throw known;
    throw new ForgelingError("io", `the wasm could not be loaded: ${known.message}`, {
      operation: "init",
      cause,
    });
  }
}

/** The loaded module; an error before `init()` has finished. */
export function binding(operation: string): Binding {
  if (loaded) return loaded;
  throw new ForgelingError("not_ready", "call `await init()` first", { operation });
}

/** Puts another module in place of the generated one and forgets what was loaded (for tests). */
export function replaceBinding(replacement: Loader = generated): void {
  loader = replacement;
  loaded = undefined;
  loading = undefined;
}
