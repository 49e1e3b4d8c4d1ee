import { init } from "./binding.js";
import type { Adaptation, Classifier, FineTuneEvent } from "./classifier.js";
import { Dataset } from "./dataset.js";
import { openDevice, type Device, type WarmUpEvent } from "./device.js";
import { ForgelingError } from "./errors.js";
import { Mlp } from "./mlp.js";
import type { DataSource, ModelInfo, Operation, Operations, Port, Reply, Request } from "./protocol.js";
import { ProtoNet, type FitEvent } from "./protonet.js";

type Event = FitEvent | WarmUpEvent | FineTuneEvent;
type Async<F> = F extends (...args: infer A) => infer R ? (...args: A) => R | Promise<R> : never;
type Handlers = { [K in Operation]: Async<Operations[K]> };

/** What one worker holds: a device, a model, a classifier on that model, and a perceptron. */
class Session {
  #device: Device | undefined;
  #model: ProtoNet | undefined;
  #classifier: Classifier | undefined;
  #adaptation: Adaptation | undefined;
  #mlp: Mlp | undefined;

  get device(): Device {
    return this.#device ?? missing("openDevice()");
  }

  set device(device: Device) {
    this.#model?.free();
    this.#model = undefined;
    this.#mlp?.free();
    this.#mlp = undefined;
    this.resetClassifier();
    this.#device?.free();
    this.#device = device;
  }

  get model(): ProtoNet {
    return this.#model ?? missing("createModel() or loadModel()");
  }

  set model(model: ProtoNet) {
    this.resetClassifier();
    this.#model?.free();
    this.#model = model;
  }

  get classifier(): Classifier {
    this.#classifier ??= this.model.classifier(this.#adaptation);
    return this.#classifier;
  }

  get mlp(): Mlp {
    return this.#mlp ?? missing("createMlp()");
  }

  set mlp(mlp: Mlp) {
    this.#mlp?.free();
    this.#mlp = mlp;
  }

  resetClassifier(): void {
    this.#classifier?.free();
    this.#classifier = undefined;
  }

  /** Without examples, and adapting in this way from now on. */
  startClassifier(adaptation: Adaptation | undefined): void {
    // Whether the settings are right is to be known now; without a model there is nothing to check them on.
    const classifier = this.#model?.classifier(adaptation);
    this.resetClassifier();
    this.#adaptation = adaptation;
    this.#classifier = classifier;
  }
}

function missing(call: string): never {
  throw new ForgelingError("not_ready", `call ${call} first`, { operation: "worker" });
}

/** Answers the requests that arrive at `port`, one after the other; `stop` overtakes the rest. */
export function serve(port: Port): void {
  const session = new Session();
  let queue = Promise.resolve();
  let stops = 0;

  const handlers = (report: (event: Event) => void, stopped: () => boolean): Handlers => ({
    init: (wasm) => init(wasm),
    openDevice: async (choice) => {
      session.device = await openDevice(choice);
      return session.device.info();
    },
    warmUp: (config) => session.device.warmUp(config, report),
    createModel: (config) => {
      session.model = ProtoNet.create(session.device, config);
      return info(session.model);
    },
    loadModel: async (bytes) => {
      session.model = await ProtoNet.load(session.device, bytes);
      return info(session.model);
    },
    saveModel: () => session.model.save(),
    summary: () => session.model.summary(),
    sample: (source, classes, examples) =>
      withData(source, (data) => ({
        height: data.height,
        width: data.width,
        classes: range(Math.min(classes, data.classCount)).map((c) => ({
          name: data.className(c),
          images: range(examples).map((e) => data.image(c, e)),
        })),
      })),
    train: (source, options) =>
      withData(source, async (data) => {
        const start = performance.now();
        const seconds = () => (performance.now() - start) / 1000;
        // Its prototypes would belong to weights that are gone after the first step.
        session.resetClassifier();
        if (stopped()) return { stopped: true, seconds: seconds() };
        let last: FitEvent | undefined;
        let cut = false;
        for await (last of session.model.fit(data, options)) {
          report(last);
          cut = stopped();
          if (cut) break;
        }
        return { stopped: cut, seconds: seconds(), ...(last && { last }) };
      }),
    evaluate: (source, options) => withData(source, (data) => session.model.evaluate(data, options)),
    addExample: (label, image) => session.classifier.add(label, image),
    removeLabel: (label) => session.classifier.remove(label),
    resetClassifier: (adaptation) => session.startClassifier(adaptation),
    adapt: () => {
      const ending = new AbortController();
      const follow = (event: FineTuneEvent) => {
        report(event);
        if (stopped()) ending.abort();
      };
      return session.classifier.adapt({ report: follow, signal: ending.signal });
    },
    labels: () => session.classifier.labels,
    classify: (image) => session.classifier.classify(image),
    createMlp: (config) => {
      session.mlp = Mlp.create(session.device, config);
      const { trainedValues, bufferValues } = session.mlp;
      return { trainedValues, bufferValues };
    },
    trainMlp: (images, labels, rate) => session.mlp.trainStep(images, labels, rate),
    classifyMlp: (images) => session.mlp.classify(images),
  });

  port.onmessage = ({ data }: MessageEvent) => {
    const request = data as Request;
    if ("stop" in request) {
      stops += 1;
      return;
    }
    const before = stops;
    queue = queue.then(() => answer(request, () => stops > before));
  };

  async function answer(request: Exclude<Request, { stop: true }>, stopped: () => boolean) {
    const { id, operation, args } = request;
    const report = (event: Event) => send({ id, event });
    try {
      const handler = handlers(report, stopped)[operation] as (...args: unknown[]) => unknown;
      const value = await handler(...args);
      send({ id, value }, value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : []);
    } catch (cause) {
      send({ id, error: ForgelingError.from(cause, operation).toJSON() });
    }
  }

  function send(reply: Reply, transfer: Transferable[] = []): void {
    port.postMessage(reply, transfer);
  }
}

function info(model: ProtoNet): ModelInfo {
  const { config, trainedValues, bufferValues } = model;
  return { config, trainedValues, bufferValues };
}

async function withData<T>(source: DataSource, body: (data: Dataset) => T | Promise<T>): Promise<T> {
  const data =
    "glyphs" in source ? Dataset.glyphs(source.glyphs) : Dataset.fromImages(source.images);
  try {
    return await body(data);
  } finally {
    data.free();
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
