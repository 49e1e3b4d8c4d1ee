import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { replaceBinding } from "../dist/binding.js";
import {
  Dataset, ForgelingError, LAYERS, MODELS, Mlp, ProtoNet, imageToInk, imageToPixels, init, openDevice, version,
} from "../dist/index.js";
import * as fake from "./fake-binding.mjs";

beforeEach(() => replaceBinding(async () => fake));

const rejected = (code, more = {}) => (error) => {
  assert.ok(error instanceof ForgelingError, `${error} is a ForgelingError`);
  assert.equal(error.code, code);
  for (const [key, value] of Object.entries(more)) assert.deepEqual(error[key], value);
  return true;
};

async function model(config) {
  await init();
  const device = await openDevice("cpu");
  return { device, model: ProtoNet.create(device, config), data: Dataset.glyphs() };
}

test("nothing works before init, and the error says what to do", async () => {
  await assert.rejects(openDevice(), rejected("not_ready", { operation: "open_device" }));
  assert.throws(() => Dataset.glyphs(), rejected("not_ready", { message: "call `await init()` first" }));
  assert.throws(version, rejected("not_ready"));
});

test("concurrent and repeated init start the wasm once", async () => {
  fake.starts.count = 0;
  await Promise.all([init(), init(), init()]);
  await init();
  assert.equal(fake.starts.count, 1);
  assert.equal(version(), "0.1.0");
});

test("init can be tried again after a failure", async () => {
  fake.starts.failures = 1;
  await assert.rejects(init(), rejected("io", { operation: "init" }));
  await init();
  assert.equal(version(), "0.1.0");
});

test("errors of the wasm keep code, operation, expectation and cause", async () => {
  await init();
  await assert.rejects(openDevice("gpu"), rejected("device", { operation: "open_device" }));
  const thrown = rejected("invalid_argument", { operation: "glyphs", expected: "1 or more", got: "0" });
  assert.throws(() => Dataset.glyphs({ classes: 0 }), thrown);
  const device = await openDevice();
  await assert.rejects(ProtoNet.load(device, new Uint8Array([1, 2])), rejected("bad_data"));
});

test("what is not an error of ours becomes `internal`, with its cause", () => {
  const panic = new WebAssembly.RuntimeError("unreachable");
  const error = ForgelingError.from(panic, "fit");
  assert.equal(error.code, "internal");
  assert.equal(error.operation, "fit");
  assert.equal(error.cause, panic);
  assert.equal(ForgelingError.from(error), error);
  assert.equal(ForgelingError.from("text").message, "text");
  assert.equal(ForgelingError.from(Object.assign(new Error("x"), { code: "ENOENT" })).code, "internal");
});

test("an error survives JSON", () => {
  const error = new ForgelingError("bad_data", "m", { operation: "o", expected: "e", got: "g" });
  const copy = ForgelingError.fromJSON(JSON.parse(JSON.stringify(error)));
  assert.deepEqual(copy.toJSON(), { code: "bad_data", message: "m", operation: "o", expected: "e", got: "g" });
  assert.equal(copy.name, "ForgelingError");
});

test("seeds and image sizes are checked before they reach the wasm", async () => {
  await init();
  for (const seed of [-1, 0.5, Number.NaN, -1n]) {
    assert.throws(() => Dataset.glyphs({ seed }), rejected("invalid_argument", { got: String(seed) }));
  }
  Dataset.glyphs({ seed: 2n ** 60n }).free();
  const options = { names: ["a", "b"], height: 3, width: 2, pixels: new Float32Array(11) };
  assert.throws(() => Dataset.fromImages(options), rejected("invalid_argument", { got: "11 values" }));
  const data = Dataset.fromImages({ ...options, pixels: new Float32Array(12) });
  assert.deepEqual([data.classCount, data.channels, data.height, data.width], [2, 1, 3, 2]);
});

test("adapters come in camel case", async () => {
  await init();
  const [adapter] = await (await openDevice()).adapters();
  assert.equal(adapter.maxBuffer, 1024);
  assert.equal(adapter.int8Dot, false);
  assert.ok(!("max_buffer" in adapter));
});

test("warming up reports its progress, and its errors are typed", async () => {
  await init();
  const device = await openDevice();
  const events = [];
  await device.warmUp({ filters: 8 }, (event) => events.push(event));
  assert.deepEqual(events.at(-1), { done: 3, total: 3 });
  await device.warmUp();
  await assert.rejects(device.warmUp({ filters: 0 }), rejected("invalid_argument", { operation: "model_config" }));
});

test("fit reports typed events and ends at the limit, whole batches counted", async () => {
  const { model: net, data } = await model({ filters: 8 });
  const events = [];
  for await (const event of net.fit(data, { episodes: 7, batchEpisodes: 3, learningRate: 0.01 })) events.push(event);
  assert.deepEqual(events.map((e) => e.episode), [3, 6, 9]);
  assert.equal(events[0].learningRate, 0.01);
  assert.ok(events[0].episodesPerSecond > 0);
  assert.ok(!("learning_rate" in events[0]));
});

test("fit lets timers and messages run between two steps", async () => {
  const { model: net, data } = await model();
  const order = [];
  setTimeout(() => order.push("timer"), 0);
  fake.cost.step = 3;
  for await (const { step } of net.fit(data, { episodes: 5 })) order.push(step);
  fake.cost.step = 0;
  const at = order.indexOf("timer");
  assert.ok(at >= 0 && at < order.length - 1, `the timer ran among the steps: ${order}`);
});

test("fit ends when its time is up", async () => {
  const { model: net, data } = await model();
  fake.cost.step = 10;
  let steps = 0;
  for await (const _ of net.fit(data, { minutes: 0.001 })) steps += 1;
  fake.cost.step = 0;
  assert.ok(steps >= 1 && steps <= 7, `${steps} steps of 10 ms in 60 ms`);
});

test("a signal stops fit with `cancelled`; break stops it quietly; both free the trainer", async () => {
  const { model: net, data } = await model();
  const before = fake.liveObjects();
  const abort = new AbortController();
  let steps = 0;
  const loop = async () => {
    for await (const _ of net.fit(data, { signal: abort.signal })) if ((steps += 1) === 3) abort.abort("enough");
  };
  await assert.rejects(loop(), rejected("cancelled", { cause: "enough" }));
  assert.equal(steps, 3);
  for await (const _ of net.fit(data)) break;
  assert.equal(fake.liveObjects(), before);
});

test("fit refuses limits that make no sense", async () => {
  const { model: net, data } = await model();
  for (const options of [{ episodes: 0 }, { episodes: -3 }, { minutes: Number.NaN }]) {
    await assert.rejects(net.fit(data, options).next(), rejected("invalid_argument", { operation: "fit" }));
  }
});

test("save and load keep what the network is made from", async () => {
  const { device, model: net } = await model({ filters: 16, seed: 3 });
  const copy = await ProtoNet.load(device, await net.save());
  const network = { input: [1, 28, 28], layers: [{ conv2d: { filters: 16, kernel: 3, padding: "same" }, name: "blocks.0" }] };
  assert.deepEqual(copy.config, { method: "protonet", ways: 5, seed: 3, channels: 1, size: 28, pictures: null, network });
  assert.deepEqual([copy.trainedValues, copy.bufferValues], [1600, 16]);
});

test("a network of one's own goes through as it is, and its summary comes in camel case", async () => {
  // Names are the user's: no key or name of it is changed on the way.
  const network = {
    input: [3, 8, 4],
    layers: [
      { conv2d: { filters: 4, kernel: [3, 1], padding: "same" }, name: "my_first_layer" },
      { batchNorm: {}, name: "aB_c" },
      { globalMeanPool: {}, inputs: ["my_first_layer"], name: "x" },
    ],
    features: "aB_c",
  };
  const before = structuredClone(network);
  const { model: net } = await model({ model: network, seed: 1 });
  assert.deepEqual(network, before);
  assert.deepEqual(net.config.network, before);
  assert.deepEqual([net.config.channels, net.config.size], [3, null]);
  const summary = net.summary();
  assert.deepEqual([summary.input, summary.trainedValues, summary.bufferValues, summary.multiplyAdds], [[3, 8, 4], 9, 3, 15]);
  const [first, second] = summary.layers;
  assert.deepEqual(first, {
    name: "my_first_layer",
    layer: "conv2d",
    output: [2, 2, 2],
    trainedValues: 3,
    bufferValues: 1,
    multiplyAdds: 5,
  });
  assert.equal(second.name, "aB_c");
});

test("the catalog says what networks there are, and what can be set", () => {
  assert.equal(MODELS.conv4.options.width.default, 64);
  for (const [name, { input, options }] of Object.entries(MODELS)) {
    assert.equal(input.length, 3, name);
    for (const { least, default: usual, most } of Object.values(options)) assert.ok(least <= usual && usual <= most, name);
  }
  assert.ok(LAYERS.includes("globalMeanPool"));
});

test("evaluate answers in camel case", async () => {
  const { model: net, data } = await model();
  const result = await net.evaluate(data, { episodes: 12 });
  assert.deepEqual(result, {
    accuracy: 0.9,
    ci95: 0.02,
    episodes: 12,
    transductive: false,
    episodesPerSecond: 20,
    calibrationError: 0.05,
    accuracies: [0.9],
  });
});

test("pictures become inputs as the model's own did, or are refused", async () => {
  const { device } = await model();
  const picture = { width: 4, height: 2, data: new Uint8ClampedArray(32).map((_, i) => (i * 37) % 256) };
  const loaded = async (pictures, channels = 3) => {
    const network = { input: [channels, 2, 2], layers: [{ conv2d: { filters: 1 } }] };
    const bytes = new TextEncoder().encode(JSON.stringify({ method: "protonet", pictures, network }));
    const net = await ProtoNet.load(device, bytes);
    assert.deepEqual(net.config.pictures, pictures);
    return net.classifier({ name: "lda", mirrored: true });
  };
  const asPicture = await loaded({ kind: "pictures", fit: "crop" });
  await asPicture.add("it", picture);
  await asPicture.add("other", new Float32Array(12));
  const found = await asPicture.classify(picture);
  assert.deepEqual(found, await asPicture.classify(imageToPixels(picture, 2, 3)));
  assert.equal(found[0].label, "it");
  const asDrawing = await loaded({ kind: "drawings", fit: "crop" }, 1);
  await asDrawing.add("it", picture);
  assert.deepEqual(await asDrawing.classify(picture), await asDrawing.classify(imageToInk(picture, 2)));
  for (const unknown of [null, { kind: "pictures", fit: "pad" }]) {
    const classifier = await loaded(unknown);
    await assert.rejects(classifier.add("it", picture), rejected("invalid_argument"));
    await classifier.add("it", new Float32Array(12));
  }
});

test("a classifier tells its classes apart and forgets one", async () => {
  const { model: net, data } = await model();
  const classifier = net.classifier();
  for (const label of [0, 1, 2]) await classifier.add(`g${label}`, data.image(label, 0));
  assert.deepEqual(classifier.labels, ["g0", "g1", "g2"]);
  const [first, ...rest] = await classifier.classify(data.image(1, 1));
  assert.equal(first.label, "g1");
  assert.ok(rest.every((p) => p.probability <= first.probability));
  classifier.remove("g1");
  assert.deepEqual(classifier.labels, ["g0", "g2"]);
  assert.throws(() => classifier.remove("g1"), rejected("invalid_argument"));
});

test("a classifier adapts as it was asked to, reports its epochs and can be stopped", async () => {
  const { model: net, data } = await model();
  assert.throws(() => net.classifier("heads"), rejected("invalid_argument"));
  const plain = net.classifier();
  await assert.rejects(plain.adapt(), rejected("invalid_argument", { operation: "adapt" }));
  await plain.add("a", data.image(0, 0));
  assert.deepEqual(await plain.adapt(), { name: "method", seconds: 0.1, fineTune: null });

  const tuned = net.classifier({ name: "head", epochs: 2 });
  await tuned.add("a", data.image(0, 0));
  const events = [];
  const summary = await tuned.adapt({ report: (event) => events.push(event) });
  assert.deepEqual(events.map(({ epoch, heldOutLoss }) => [epoch, heldOutLoss]), [[1, null], [2, null]]);
  assert.deepEqual(summary.fineTune, { epochs: 2, loss: 0.5, heldOutAccuracy: null, stoppedEarly: false });

  const ending = new AbortController();
  const stopped = tuned.adapt({ signal: ending.signal, report: () => ending.abort() });
  await assert.rejects(stopped, rejected("cancelled"));
  await assert.rejects(tuned.adapt({ signal: ending.signal }), rejected("cancelled", { operation: "adapt" }));
  const mine = new Error("of the page");
  const thrown = tuned.adapt({
    report: () => {
      throw mine;
    },
  });
  await assert.rejects(thrown, (error) => error === mine);
});

test("calls that overlap take turns, and one that fails does not stop the next", async () => {
  const { model: net, data } = await model();
  const classifier = net.classifier();
  const empty = assert.rejects(classifier.add("b", new Float32Array(0)), rejected("bad_data"));
  await Promise.all([classifier.add("a", data.image(0, 0)), empty, classifier.add("c", data.image(2, 0))]);
  assert.deepEqual(classifier.labels, ["a", "c"]);
});

test("a perceptron is trained step by step, and labels are classes", async () => {
  const { device } = await model();
  const mlp = Mlp.create(device, { inputs: 2, hidden: [3], classes: 2 });
  assert.deepEqual([mlp.trainedValues, mlp.bufferValues], [3 * 3 + 4 * 2, 0]);
  const images = Float32Array.of(0, 0, 1, 1);
  assert.equal(await mlp.trainStep(images, [0, 1]), 1e-3 / 2);
  assert.ok((await mlp.trainStep(images, Uint8Array.of(0, 1), 0.1)) > 0);
  assert.deepEqual(await mlp.classify(Float32Array.of(0.9, 1, 0.1, 0)), [1, 0]);
  for (const label of [-1, 0.5, NaN, 2 ** 32]) {
    const thrown = rejected("invalid_argument", { operation: "train_step", got: String(label) });
    await assert.rejects(mlp.trainStep(images, [0, label]), thrown);
  }
  await assert.rejects(mlp.trainStep(images.subarray(1), [0]), rejected("invalid_argument", { operation: "mlp" }));
  mlp.free();
  await assert.rejects(mlp.classify(images), rejected("freed", { operation: "classify" }));
});

test("use after free is an error, and freeing twice is not", async () => {
  const { device, model: net, data } = await model();
  const classifier = net.classifier();
  for (const object of [classifier, net, data, device]) {
    object.free();
    object.free();
    assert.ok(object.freed);
  }
  assert.throws(() => device.name, rejected("freed", { message: "this Device was freed" }));
  assert.throws(() => ProtoNet.create(device), rejected("freed"));
  await assert.rejects(net.save(), rejected("freed", { operation: "save_model" }));
  await assert.rejects(net.fit(data).next(), rejected("freed"));
  await assert.rejects(classifier.classify(new Float32Array(1)), rejected("freed"));
});

test("free waits for work in flight, and Symbol.dispose frees", async () => {
  const { model: net } = await model();
  const before = fake.liveObjects();
  const saved = net.save();
  net.free();
  assert.equal(fake.liveObjects(), before, "not freed under a running call");
  assert.ok((await saved).length > 0);
  assert.equal(fake.liveObjects(), before - 1);
  const data = Dataset.glyphs();
  data[Symbol.dispose]();
  assert.ok(data.freed);
});
