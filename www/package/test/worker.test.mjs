import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { replaceBinding } from "../dist/binding.js";
import { serve } from "../dist/serve.js";
import { ForgelingError, ForgelingWorker } from "../dist/worker.js";
import * as fake from "./fake-binding.mjs";

const glyphs = { glyphs: { classes: 6, size: 12 } };
let channel;
let worker;

beforeEach(async () => {
  replaceBinding(async () => fake);
  channel = new MessageChannel();
  serve(channel.port1);
  worker = new ForgelingWorker(channel.port2, () => channel.port1.close());
  await worker.init();
});
afterEach(() => {
  fake.cost.step = 0;
  worker.terminate();
});

const code = (expected) => (error) => error instanceof ForgelingError && error.code === expected;

test("a whole session: device, training, examples, answer, saving", async () => {
  const device = await worker.openDevice("cpu");
  assert.deepEqual(Object.keys(device), ["kind", "name", "backend", "reason"]);
  const warming = [];
  await worker.warmUp({ filters: 8 }, ({ done, total }) => warming.push(done / total));
  assert.equal(warming.at(-1), 1);
  const { trainedValues, bufferValues } = await worker.createModel({ filters: 8 });
  assert.deepEqual([trainedValues, bufferValues], [800, 8]);

  const events = [];
  const summary = await worker.train(glyphs, { episodes: 4 }, (event) => events.push(event));
  assert.equal(summary.stopped, false);
  assert.deepEqual(summary.last, events.at(-1));
  assert.equal(events.length, 4);

  const sample = await worker.sample(glyphs, 3, 2);
  assert.equal(sample.classes.length, 3);
  for (const { name, images } of sample.classes) await worker.addExample(name, images[0]);
  assert.deepEqual(await worker.labels(), ["glyph 0", "glyph 1", "glyph 2"]);
  assert.equal((await worker.classify(sample.classes[2].images[1]))[0].label, "glyph 2");
  await worker.removeLabel("glyph 1");
  assert.deepEqual(await worker.labels(), ["glyph 0", "glyph 2"]);
  await worker.resetClassifier();
  assert.deepEqual(await worker.labels(), []);
  await worker.resetClassifier({ name: "head", epochs: 100_000 });
  await worker.addExample("glyph 0", sample.classes[0].images[0]);
  let epochs = 0;
  const adapting = worker.adapt(() => {
    if ((epochs += 1) === 3) worker.stop();
  });
  await assert.rejects(adapting, code("cancelled"));
  await assert.rejects(worker.resetClassifier("heads"), code("invalid_argument"));
  assert.deepEqual(await worker.labels(), ["glyph 0"], "an adaptation that there is not leaves the classifier");
  await worker.resetClassifier("lora");
  await worker.addExample("glyph 0", sample.classes[0].images[0]);
  assert.equal((await worker.adapt()).fineTune.epochs, 3);

  const bytes = await worker.saveModel();
  assert.equal((await worker.loadModel(bytes)).config.network.layers[0].conv2d.filters, 8);
  assert.equal((await worker.evaluate(glyphs, { episodes: 5 })).episodes, 5);
});

test("a network of one's own crosses as it is, and so does its summary", async () => {
  await worker.openDevice("cpu");
  const network = {
    input: [1, 12, 12],
    layers: [{ conv2d: { filters: 2, kernel: 3 }, name: "my_layer" }, "batchNorm", { maxPool: { size: [2, 3] }, inputs: ["my_layer"] }],
  };
  await worker.warmUp({ model: network });
  const { config } = await worker.createModel({ model: network });
  assert.deepEqual(config.network, network);
  const { layers, trainedValues } = await worker.summary();
  assert.deepEqual(layers.map(({ name, layer }) => [name, layer])[0], ["my_layer", "conv2d"]);
  assert.equal(trainedValues, 9);
});

test("a perceptron lives in the worker too, and goes with its device", async () => {
  await worker.openDevice("cpu");
  await assert.rejects(worker.classifyMlp(new Float32Array(2)), code("not_ready"));
  assert.deepEqual(await worker.createMlp({ inputs: 2, hidden: [], classes: 2 }), { trainedValues: 6, bufferValues: 0 });
  const images = Float32Array.of(0, 0, 1, 1);
  assert.equal(await worker.trainMlp(images, [0, 1], 0.5), 0.25);
  assert.deepEqual(await worker.classifyMlp(images), [0, 1]);
  await assert.rejects(worker.trainMlp(images, [0, -1]), code("invalid_argument"));
  const before = fake.liveObjects();
  await worker.openDevice("cpu");
  assert.equal(fake.liveObjects(), before - 1, "a device came, a device and the perceptron went");
  await assert.rejects(worker.trainMlp(images, [0, 1]), code("not_ready"));
});

test("stop overtakes the queue and keeps the last event", async () => {
  await worker.openDevice("cpu");
  await worker.createModel();
  fake.cost.step = 2;
  let steps = 0;
  const summary = await worker.train(glyphs, { episodes: 100_000 }, () => {
    if ((steps += 1) === 3) worker.stop();
  });
  assert.equal(summary.stopped, true);
  assert.ok(summary.last.episode >= 3 && summary.last.episode < 1000);
  const again = await worker.train(glyphs, { episodes: 2 });
  assert.equal(again.stopped, false, "an earlier stop does not end a later run");
});

test("errors cross with their code, and the worker goes on", async () => {
  await assert.rejects(worker.createModel(), code("not_ready"));
  await assert.rejects(worker.openDevice("gpu"), code("device"));
  await worker.openDevice("cpu");
  await assert.rejects(worker.classify(new Float32Array(4)), code("not_ready"));
  await assert.rejects(worker.loadModel(new Uint8Array([9])), code("bad_data"));
  await assert.rejects(worker.train({ glyphs: { classes: 0 } }), code("invalid_argument"));
  await assert.rejects(worker.addExample("a", () => 0), code("invalid_argument"));
  assert.equal((await worker.createModel()).trainedValues, 6400);
});

test("training empties the classifier, and datasets are freed", async () => {
  await worker.openDevice("cpu");
  await worker.createModel();
  await worker.addExample("a", new Float32Array(144).fill(1));
  const before = fake.liveObjects();
  await worker.train(glyphs, { episodes: 1 });
  assert.equal(fake.liveObjects(), before - 1, "only the old classifier went");
  assert.deepEqual(await worker.labels(), []);
});

test("terminate rejects what is under way and what comes later", async () => {
  await worker.openDevice("cpu");
  await worker.createModel();
  const training = worker.train(glyphs, { episodes: 100_000 });
  worker.terminate();
  await assert.rejects(training, code("cancelled"));
  await assert.rejects(worker.labels(), code("cancelled"));
});
