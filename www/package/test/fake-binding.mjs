// A stand-in for the generated wasm module: same surface, with the nearest mean of raw pixels in the place of
// a network. It lets the wrapper be tested without a wasm build, and says nothing about learning.
const fail = (code, message, more = {}) => Object.assign(new Error(message), { code, ...more });

let live = 0;
/** How many raw objects were made and not freed. */
export const liveObjects = () => live;

class Raw {
  constructor() {
    live += 1;
    this.alive = true;
  }
  free() {
    if (!this.alive) throw new Error("freed twice");
    this.alive = false;
    live -= 1;
  }
}
if (Symbol.dispose) Raw.prototype[Symbol.dispose] = Raw.prototype.free;

class Device extends Raw {
  kind = "cpu";
  name = "2 cores";
  backend = "flex";
  reason = "the page asked for the CPU";
  async warmUp(config, report) {
    new ProtoNet(config).free();
    for (let done = 1; done <= 3; done += 1) report({ done, total: 3 });
  }
  memory() {
    return { in_use: 10, peak: 30, reserved: 20, limit: 2 ** 31 };
  }
  async adapters() {
    return [{ index: 0, name: "none", kind: "cpu", int8_dot: false, max_buffer: 1024, chosen: true }];
  }
}

class Dataset extends Raw {
  constructor(classCount, size, draw) {
    super();
    Object.assign(this, { classCount, channels: 1, height: size, width: size, draw });
  }
  static glyphs(seed, split, classes, size) {
    if (typeof seed !== "bigint") throw new TypeError("seed must be a bigint");
    if (classes < 1) throw fail("invalid_argument", "glyphs: no classes", { operation: "glyphs", expected: "1 or more", got: "0" });
    const turn = Number(seed) + (split === "test" ? 0.5 : 0);
    return new Dataset(classes, size, (c, e) => (x, y) => {
      const r = Math.hypot(x - 0.5, y - 0.5);
      const a = Math.atan2(y - 0.5, x - 0.5) + turn + e * 0.05;
      const target = 0.28 + 0.12 * Math.sin((2 + (c % 5)) * a + c);
      return Math.max(0, 1 - Math.abs(r - target) * 22);
    });
  }
  static fromImages(names, channels, height, width) {
    const data = new Dataset(new Set(names).size, height, () => () => 0);
    return Object.assign(data, { channels, width });
  }
  className(index) {
    return `glyph ${index}`;
  }
  image(classIndex, example) {
    if (classIndex >= this.classCount) throw fail("invalid_argument", "image: no such class");
    const pixel = this.draw(classIndex, example);
    return Float32Array.from({ length: this.height * this.width }, (_, i) =>
      pixel((i % this.width) / this.width, Math.floor(i / this.width) / this.height),
    );
  }
}

/** What `Graph::summary` says of a graph, with made-up sizes. */
const summaryOf = (graph) => {
  const layers = graph.layers.map((layer, i) => {
    const [kind] = typeof layer === "string" ? [layer] : Object.keys(layer).filter((key) => !["name", "inputs", "stream"].includes(key));
    return { name: layer.name ?? `${kind}${i}`, layer: kind, output: [2, 2, 2], trained_values: 3, buffer_values: 1, multiply_adds: 5 };
  });
  const sum = (key) => layers.reduce((sum, layer) => sum + layer[key], 0);
  const all = { trained_values: sum("trained_values"), buffer_values: sum("buffer_values"), multiply_adds: sum("multiply_adds") };
  return { input: graph.input, output: [2, 2, 2], features: [2, 2, 2], ...all, layers };
};

class ProtoNet extends Raw {
  constructor({ method = "protonet", model = "conv4", ways = 5, seed = 0, channels = 1, size = 28, filters = 64, pictures = null }) {
    if (filters === 0) throw fail("invalid_argument", "model_config: width is out of range", { operation: "model_config" });
    super();
    const named = typeof model === "string";
    const layers = [{ conv2d: { filters, kernel: 3, padding: "same" }, name: "blocks.0" }];
    const network = named ? { input: [channels, size, size], layers } : model;
    const [, rows, columns] = network.input;
    this.config = { method, ways, seed, channels: network.input[0], size: rows === columns ? rows : null, pictures, network };
    this.bufferValues = network.layers[0].conv2d?.filters ?? 0;
    this.trainedValues = 100 * this.bufferValues;
  }
  summary() {
    return summaryOf(this.config.network);
  }
  static create(device, config) {
    if (!device.alive) throw new Error("null pointer passed to rust");
    return new ProtoNet(config);
  }
  static async load(_device, bytes) {
    let config;
    try {
      config = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      throw fail("bad_data", "load_model: this is not a safetensors file", { operation: "load_model" });
    }
    return new ProtoNet({ ...config, model: config.network });
  }
  async save() {
    return new TextEncoder().encode(JSON.stringify(this.config));
  }
  async evaluate(_data, { episodes = 600, transductive = false }) {
    return {
      accuracy: 0.9,
      ci95: 0.02,
      episodes,
      transductive,
      episodes_per_second: 20,
      calibration_error: 0.05,
      accuracies: [0.9],
    };
  }
  finish() {}
  classifier(adaptation) {
    const names = ["method", "prototypes", "lda", "ridge", "head", "lora"];
    if (!names.includes(adaptation.name)) throw fail("invalid_argument", "options: unknown variant");
    return new Classifier(adaptation);
  }
}

/** What one step costs, in milliseconds of a busy processor. */
export const cost = { step: 0 };

class Trainer extends Raw {
  constructor(_model, _data, options) {
    super();
    this.options = options;
    this.steps = 0;
  }
  async step() {
    const end = performance.now() + cost.step;
    while (performance.now() < end);
    this.steps += 1;
    const { batchEpisodes = 1, learningRate = 1e-3 } = this.options;
    const left = Math.exp(-this.steps / 40) * (1 + 0.2 * Math.sin(this.steps * 1.7));
    return {
      step: this.steps,
      episode: this.steps * batchEpisodes,
      loss: 1.6 * left,
      accuracy: 1 - 0.8 * left,
      learning_rate: learningRate,
      episodes_per_second: 1000 / Math.max(1, cost.step),
    };
  }
}

class Classifier extends Raw {
  #examples = new Map();
  #busy = false;
  constructor(adaptation) {
    super();
    this.adaptation = adaptation;
  }
  async adapt(pace, report) {
    const { name, epochs = 3 } = this.adaptation;
    if (this.#examples.size === 0) throw fail("invalid_argument", "adapt: there is no example yet", { operation: "adapt" });
    const tuned = name === "head" || name === "lora";
    for (let epoch = 1; tuned && epoch <= epochs; epoch += 1) {
      await pace();
      const event = { searching: false, epoch, epochs, loss: 1 / epoch, held_out_loss: null, held_out_accuracy: null };
      if (report(event)) throw fail("cancelled", "fine_tune: stopped before it was over", { operation: "fine_tune" });
    }
    const fine_tune = tuned ? { epochs, loss: 1 / epochs, held_out_accuracy: null, stopped_early: false } : null;
    return { name, seconds: 0.1, fine_tune };
  }
  async add(label, pixels) {
    // What wasm-bindgen does when a second call borrows what the first still holds.
    if (this.#busy) throw new Error("recursive use of an object detected");
    this.#busy = true;
    await new Promise((resolve) => setTimeout(resolve, 1));
    this.#busy = false;
    const rows = this.#examples.get(label) ?? [];
    if (pixels.length === 0) throw fail("bad_data", "classifier_add: empty image");
    this.#examples.set(label, [...rows, blur(pixels)]);
  }
  remove(label) {
    if (!this.#examples.delete(label)) throw fail("invalid_argument", `classifier_remove: no class ${label}`);
  }
  labels() {
    return [...this.#examples.keys()];
  }
  async classify(pixels) {
    const seen = blur(pixels);
    const scores = [...this.#examples].map(([label, rows]) => {
      const mean = seen.map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
      return { label, score: -mean.reduce((sum, m, i) => sum + (m - seen[i]) ** 2, 0) };
    });
    const top = Math.max(...scores.map((s) => s.score));
    const total = scores.reduce((sum, s) => sum + Math.exp(s.score - top), 0);
    return scores
      .map(({ label, score }) => ({ label, probability: Math.exp(score - top) / total }))
      .sort((a, b) => b.probability - a.probability);
  }
}

class Mlp extends Raw {
  #seen = [];
  constructor(config) {
    super();
    this.config = { inputs: 784, hidden: [128], classes: 10, seed: 0, ...config };
    const sizes = [this.config.inputs, ...this.config.hidden, this.config.classes];
    this.trainedValues = sizes.slice(1).reduce((sum, size, i) => sum + (sizes[i] + 1) * size, 0);
    this.bufferValues = 0;
  }
  static create(device, config) {
    if (!device.alive) throw new Error("null pointer passed to rust");
    return new Mlp(config);
  }
  #rows(images) {
    const { inputs } = this.config;
    if (images.length === 0 || images.length % inputs > 0) {
      throw fail("invalid_argument", "mlp: not whole examples", { operation: "mlp", expected: `a multiple of ${inputs} numbers` });
    }
    return Array.from({ length: images.length / inputs }, (_, i) => images.subarray(i * inputs, (i + 1) * inputs));
  }
  async trainStep(images, labels, rate) {
    if (!(labels instanceof Uint32Array) || typeof rate !== "number") throw new TypeError("other types than wasm takes");
    this.#rows(images).forEach((row, i) => this.#seen.push({ row, label: labels[i] }));
    return rate / this.#seen.length;
  }
  async classify(images) {
    const far = (a, b) => a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
    const nearest = (row) => this.#seen.reduce((best, one) => (far(one.row, row) < far(best.row, row) ? one : best));
    return Uint32Array.from(this.#rows(images), (row) => nearest(row).label);
  }
}

class Profiling extends Raw {
  static start(device, options) {
    if (!device.alive) throw new Error("null pointer passed to rust");
    if (options.gpu === "all") throw fail("invalid_argument", "options: unknown variant");
    return new Profiling();
  }
  async finish() {
    this.free();
    const row = { name: "forward", count: 1, seconds: 1, gpu_seconds: 0.5, dispatches: 2, bytes: 8 };
    return { seconds: 1, phases: [row], modules: [], kernels: [], peak_bytes: 64, memory: [[0, 1]], dropped_spans: 0, table: "…", trace: "{}" };
  }
}

/** Two steps make an epoch; a checkpoint is the number of its step. What wasm would not take is an error. */
class ClassifierTrainer extends Raw {
  #rows = [];
  #busy = false;
  constructor(options) {
    super();
    const { inputs, layers, input } = options.model;
    const [channels, size] = input ?? [options.model.channels ?? 1, options.model.size ?? 28];
    const named = { input: [channels, size, size], layers: ["flatten", { linear: { outputs: options.classes.length } }] };
    this.network = layers ? options.model : named;
    this.options = options;
    this.input = inputs ? { channels: 1, height: 1, width: inputs } : { channels, height: size, width: size };
    this.length = inputs ?? channels * size * size;
    this.trainedValues = this.length * options.classes.length;
    this.bufferValues = 0;
    this.steps = 0;
  }
  static create(device, options) {
    if (!device.alive) throw new Error("null pointer passed to rust");
    if ("checkpoints" in options) throw fail("invalid_argument", "options: unknown field `checkpoints`");
    return new ClassifierTrainer(options);
  }
  summary() {
    return summaryOf(this.network);
  }
  add(values, labels) {
    if (!(values instanceof Float32Array && labels instanceof Uint32Array)) throw new TypeError("other types than wasm takes");
    if (values.length !== labels.length * this.length) throw fail("invalid_argument", "add_examples: not one label for each example");
    labels.forEach((label, i) => this.#rows.push({ label, row: values.slice(i * this.length, (i + 1) * this.length) }));
  }
  counts() {
    return Uint32Array.from(this.options.classes, (_, label) => this.#rows.filter((row) => row.label === label).length);
  }
  async fit(pace, report, keep, save, places, found) {
    if (this.#busy) throw new Error("recursive use of an object detected");
    this.#busy = true;
    try {
      const damaged = [];
      for (const [i, bytes] of (keep ? found : []).entries()) {
        const step = Number(new TextDecoder().decode(bytes));
        if (Number.isNaN(step)) damaged.push(`${places[i]}: not whole`);
        else {
          this.steps = step;
          report({ event: "resumed", step, epoch: step / 2, damaged });
          break;
        }
      }
      const keepIt = () => {
        if (!keep) return;
        this.last = new TextEncoder().encode(String(this.steps));
        report({ event: "saved", step: this.steps, place: save ? save(this.steps, this.last) : "memory" });
      };
      let reason = "finished";
      while (this.steps < 2 * this.options.epochs) {
        await pace();
        this.steps += 1;
        if (this.options.learningRate === 666) throw fail("diverged", "fit: the loss is not finite", { operation: "fit" });
        const stop = report({ event: "step", step: this.steps, loss: 1 / this.steps, learning_rate: 1e-3, examples_per_second: 9 });
        if (stop) {
          reason = "asked";
          break;
        }
        if (this.steps % 2 === 0) {
          report({ event: "epoch", epoch: this.steps / 2, step: this.steps });
          if (this.steps < 2 * this.options.epochs) keepIt();
        }
      }
      keepIt();
      report({ event: "stopped", step: this.steps, reason });
      return { steps: this.steps, examples_per_second: 9, validation: null, reason };
    } finally {
      this.#busy = false;
    }
  }
  async rehearse(steps, pace) {
    for (let step = 0; step < steps; step += 1) await pace();
    this.rehearsed = steps;
  }
  checkpoint() {
    return this.last?.slice();
  }
  async predict(values) {
    const count = values.length / this.length;
    const last = this.options.classes.length - 1;
    return Float32Array.from({ length: count * (last + 1) }, (_, i) => (i % (last + 1) === last ? 0.9 : 0.1 / last));
  }
  async save() {
    return new TextEncoder().encode(JSON.stringify(this.options));
  }
  plan(batch = 32) {
    return { batch, peak: 100 * batch, phases: { forward: 3 }, contributors: [{ usage: "parameters", name: "w", bytes: 4 }] };
  }
  report() {
    return { device: "2 cores", memory_budget: null, micro_batch: null, gradient_checkpointing: false };
  }
}

class Network extends ClassifierTrainer {
  static async load(_device, bytes) {
    return new Network(JSON.parse(new TextDecoder().decode(bytes)));
  }
  get classes() {
    return this.options.classes;
  }
  get config() {
    return { model: "mlp", input: this.input, classes: this.classes, network: this.network };
  }
  get training() {
    const validation = { loss: 0.5, accuracy: 1, balanced_accuracy: 1, examples: 2 };
    return { steps: 6, epochs: 3, examples: 24, validation };
  }
}

/** Knows of what it was pushed how many it was, and answers what came last. What wasm would not take is an error. */
class Continual extends Raw {
  input = { channels: 1, height: 2, width: 2 };
  constructor(state) {
    super();
    Object.assign(this, { steps: 0, tests: 0, rows: [], last: undefined }, state);
  }
  static create(device, { classes, strategy = "er", ...options }) {
    if (!device.alive) throw new Error("null pointer passed to rust");
    if (strategy === "none") throw fail("invalid_argument", "options: unknown variant `none`");
    return new Continual({ classes, options });
  }
  static load(device, bytes, hardware) {
    if (!device.alive || typeof hardware !== "object") throw new Error("null pointer passed to rust");
    return new Continual(JSON.parse(new TextDecoder().decode(bytes)));
  }
  #check(values, labels, pace) {
    if (!(values instanceof Float32Array && labels instanceof Uint32Array)) throw new TypeError("other types than wasm takes");
    if (typeof pace !== "function") throw new TypeError("pace must be a function");
    const wrong = labels.find((label) => label >= this.classes);
    if (wrong !== undefined) throw fail("invalid_argument", "continual_learn: a label is no class", { got: String(wrong) });
    if (values.length !== 4 * labels.length) throw fail("invalid_argument", "continual_learn: not one label for each example");
  }
  async learn(values, labels, pace, report) {
    this.#check(values, labels, pace);
    let reason = "finished";
    for (const label of labels) {
      await pace();
      [this.steps, this.last] = [this.steps + 1, label];
      if (!report({ event: "step", step: this.steps, loss: 1, learning_rate: 1e-3 })) continue;
      reason = "asked";
      break;
    }
    return { steps: this.steps, examples_per_second: 9, validation: null, reason };
  }
  async endTask(values, labels, pace) {
    if (this.last === undefined) throw fail("invalid_argument", "end_task: nothing of the task was learned", { operation: "end_task" });
    if (values !== undefined || labels !== undefined) {
      this.#check(values, labels, pace);
      this.tests += 1;
    }
    this.rows.push(Array.from({ length: this.tests }, (_, test) => (test + 1) / this.tests));
    return Float64Array.from(this.rows.at(-1));
  }
  accuracyMatrix() {
    return this.rows.map((row) => [...row]);
  }
  async classify(values) {
    return Uint32Array.from({ length: values.length / 4 }, () => this.last);
  }
  async predict(values) {
    return Float32Array.from({ length: (values.length / 4) * this.classes }, (_, i) => (i % this.classes === this.last ? 1 : 0));
  }
  async save() {
    const { classes, steps, tests, rows, last } = this;
    return new TextEncoder().encode(JSON.stringify({ classes, steps, tests, rows, last }));
  }
}

function blur(pixels) {
  const side = Math.round(Math.sqrt(pixels.length));
  const at = (x, y) => (x >= 0 && y >= 0 && x < side && y < side ? pixels[y * side + x] : 0);
  return Array.from(pixels, (_, i) => {
    let sum = 0;
    for (let y = -3; y <= 3; y += 1) for (let x = -3; x <= 3; x += 1) sum += at((i % side) + x, Math.floor(i / side) + y);
    return sum / 12;
  });
}

/** How often the module was started. */
export const starts = { count: 0, failures: 0 };

async function start() {
  starts.count += 1;
  if (starts.failures > 0) {
    starts.failures -= 1;
    throw new TypeError("Failed to fetch");
  }
}

async function openDevice(choice) {
  if (choice.startsWith("gpu")) throw fail("device", "open_device: this browser has no WebGPU", { operation: "open_device" });
  return new Device();
}

export const version = () => "0.1.0";
export { openDevice, Device, Dataset, ProtoNet, Trainer, Classifier, Mlp, ClassifierTrainer, Continual, Network, Profiling };
export default start;
