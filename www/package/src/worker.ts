/**
 * Training in a Web Worker, so that the page stays responsive.
 *
 * The messages are a small protocol of our own instead of `comlink`: events stream back while a call is
 * under way, `stop()` overtakes the queue, and errors keep their codes, none of which comlink's proxies
 * bring along, and the package keeps having no dependency.
 *
 * @module
 */
import type { AdaptSummary, Adaptation, FineTuneEvent, Prediction } from "./classifier.js";
import type { DeviceChoice, DeviceInfo, WarmUpEvent } from "./device.js";
import { ForgelingError } from "./errors.js";
import type { MlpConfig } from "./mlp.js";
import type { NetworkSummary } from "./network-graph.js";
import type {
  DataSource,
  MlpInfo,
  ModelInfo,
  Operation,
  Operations,
  Port,
  Reply,
  Sample,
  TrainOptions,
  TrainSummary,
} from "./protocol.js";
import type { EvaluateOptions, Evaluation, FitEvent, MethodOptions, ProtoNetConfig } from "./protonet.js";

export { ForgelingError, type ErrorCode } from "./errors.js";
export { imageToInk, type InkOptions } from "./ink.js";
export type { AdaptSummary, Adaptation, FineTuneEvent, Prediction } from "./classifier.js";
export type { DeviceChoice, DeviceInfo, DeviceKind, WarmUpEvent } from "./device.js";
export type { GlyphOptions, ImageOptions } from "./dataset.js";
export type {
  EvaluateOptions,
  Evaluation,
  FitEvent,
  Method,
  MethodOptions,
  ModelConfig,
  ProtoNetConfig,
} from "./protonet.js";
export type { LayerDescription, LayerSummary, ModelName, NetworkGraph, NetworkSummary } from "./network-graph.js";
export type { MlpConfig } from "./mlp.js";
export type { DataSource, MlpInfo, ModelInfo, Sample, TrainOptions, TrainSummary } from "./protocol.js";

/** How to start a worker. */
export interface WorkerOptions {
  /** A worker that runs `forgeling/worker-entry`, or the address of that script. Default: found beside this file. */
  worker?: Worker | URL;
  /** Address of the wasm file. Default: found beside the package's JavaScript. */
  wasm?: string | URL;
}

/** Starts a worker and loads the wasm in it. */
export async function startWorker(options: WorkerOptions = {}): Promise<ForgelingWorker> {
  const worker =
    options.worker === undefined
      ? new Worker(new URL("./worker-entry.js", import.meta.url), { type: "module" })
      : options.worker instanceof URL
        ? new Worker(options.worker, { type: "module" })
        : options.worker;
  const client = new ForgelingWorker(worker, () => worker.terminate());
  worker.onerror = (event) => {
    event.preventDefault?.();
    const message = event.message || "the worker's script could not be loaded";
    client.fail(new ForgelingError("internal", message, { operation: "worker" }));
  };
  try {
    // A worker resolves addresses against its own script, people mean the page's.
    const { wasm } = options;
    await client.init(wasm === undefined ? undefined : new URL(wasm, location.href).href);
  } catch (cause) {
    worker.terminate();
    throw cause;
  }
  return client;
}

interface Call {
  resolve: (value: never) => void;
  reject: (error: ForgelingError) => void;
  report?: ((event: never) => void) | undefined;
}

/** A worker that holds one device, one model, one classifier and one perceptron. Calls are served in order. */
export class ForgelingWorker {
  readonly #port: Port;
  readonly #end: () => void;
  readonly #calls = new Map<number, Call>();
  #next = 0;
  #failure: ForgelingError | undefined;

  /** Use {@link startWorker}; `end` is called by `terminate()`. */
  constructor(port: Port, end: () => void) {
    this.#port = port;
    this.#end = end;
    port.onmessage = ({ data }: MessageEvent) => this.#receive(data as Reply);
  }

  /** Loads the wasm; `startWorker` does this. */
  init(wasm?: string): Promise<void> {
    return this.#call("init", [wasm]);
  }

  /** Opens a device, default `auto`; a model on an earlier device is dropped. */
  openDevice(choice?: DeviceChoice): Promise<DeviceInfo> {
    return this.#call("openDevice", [choice]);
  }

  /**
   * Compiles what a model of `config` needs, so that its first step takes hardly longer than the others;
   * `report` is called after each part.
   */
  warmUp(config?: ProtoNetConfig & MethodOptions, report?: (event: WarmUpEvent) => void): Promise<void> {
    return this.#call("warmUp", [config], report);
  }

  /** Puts a new model with random weights in the place of the earlier one. */
  createModel(config?: ProtoNetConfig & MethodOptions): Promise<ModelInfo> {
    return this.#call("createModel", [config]);
  }

  /** Puts a saved model in the place of the earlier one. */
  loadModel(bytes: Uint8Array): Promise<ModelInfo> {
    return this.#call("loadModel", [bytes]);
  }

  /** The model as a safetensors file. */
  saveModel(): Promise<Uint8Array> {
    return this.#call("saveModel", []);
  }

  /** The model's network, layer by layer. */
  summary(): Promise<NetworkSummary> {
    return this.#call("summary", []);
  }

  /** The first images of the first classes, to show what a dataset holds. */
  sample(data: DataSource, classes: number, examples: number): Promise<Sample> {
    return this.#call("sample", [data, classes, examples]);
  }

  /**
   * Trains the model; `report` is called after every step. The classifier is emptied, for its examples
   * were seen with the old weights.
   */
  train(
    data: DataSource,
    options?: TrainOptions,
    report?: (event: FitEvent) => void,
  ): Promise<TrainSummary> {
    return this.#call("train", [data, options], report);
  }

  /** Ends the training under way after its current step; what was learned is kept. */
  stop(): void {
    if (!this.#failure) this.#port.postMessage({ stop: true }, []);
  }

  /** Measures the model. */
  evaluate(data: DataSource, options?: EvaluateOptions): Promise<Evaluation> {
    return this.#call("evaluate", [data, options]);
  }

  /** Adds one example to the classifier; a new label makes a new class. */
  addExample(label: string, image: Float32Array): Promise<void> {
    return this.#call("addExample", [label, image]);
  }

  /** Makes the classifier forget a class. */
  removeLabel(label: string): Promise<void> {
    return this.#call("removeLabel", [label]);
  }

  /** Makes the classifier forget everything, and adapt to what comes as `adaptation` says, by default the model's way. */
  resetClassifier(adaptation?: Adaptation): Promise<void> {
    return this.#call("resetClassifier", [adaptation]);
  }

  /**
   * Adapts to the examples now, rather than with the next image; `report` is called after every epoch of a fine-tuning.
   * `stop()` ends it: the promise is then rejected as `cancelled`, and what answered before still does.
   */
  adapt(report?: (event: FineTuneEvent) => void): Promise<AdaptSummary> {
    return this.#call("adapt", [], report);
  }

  /** The labels the classifier knows. */
  labels(): Promise<string[]> {
    return this.#call("labels", []);
  }

  /** All labels with their probabilities, the most probable first. */
  classify(image: Float32Array): Promise<Prediction[]> {
    return this.#call("classify", [image]);
  }

  /** Puts a new perceptron with random weights in the place of the earlier one. */
  createMlp(config?: MlpConfig): Promise<MlpInfo> {
    return this.#call("createMlp", [config]);
  }

  /** One optimizer step of the perceptron, default rate 0.001; resolves to the loss before it. */
  trainMlp(images: Float32Array, labels: ArrayLike<number>, rate?: number): Promise<number> {
    return this.#call("trainMlp", [images, labels, rate]);
  }

  /** The most probable class of each image, by the perceptron. */
  classifyMlp(images: Float32Array): Promise<number[]> {
    return this.#call("classifyMlp", [images]);
  }

  /** Ends the worker at once; calls under way are rejected as `cancelled`. */
  terminate(): void {
    this.fail(new ForgelingError("cancelled", "the worker was ended"));
    this.#end();
  }

  /** Rejects every call, now and later: the worker is gone. @internal */
  fail(error: ForgelingError): void {
    this.#failure ??= error;
    for (const call of this.#calls.values()) call.reject(this.#failure);
    this.#calls.clear();
  }

  #call<K extends Operation>(
    operation: K,
    args: Parameters<Operations[K]>,
    report?: (event: never) => void,
  ): Promise<ReturnType<Operations[K]>> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#next;
    this.#next += 1;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject, report });
      try {
        this.#port.postMessage({ id, operation, args }, []);
      } catch (cause) {
        this.#calls.delete(id);
        const message = "the arguments cannot be sent to a worker";
        reject(new ForgelingError("invalid_argument", message, { operation, cause }));
      }
    });
  }

  #receive(reply: Reply): void {
    const call = this.#calls.get(reply.id);
    if (!call) return;
    if ("event" in reply) {
      call.report?.(reply.event as never);
      return;
    }
    this.#calls.delete(reply.id);
    if ("error" in reply) call.reject(ForgelingError.fromJSON(reply.error));
    else call.resolve(reply.value as never);
  }
}
