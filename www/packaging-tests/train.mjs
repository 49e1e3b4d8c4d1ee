// Trains the package's classifier in Chromium as a page would: on the CPU and on WebGPU in software, with checkpoints in
// IndexedDB that outlive the page.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "../tools/browser.mjs";
import { serve } from "../tools/serve.mjs";

let server, browser, page;

before(async () => {
  server = await serve();
  browser = await launch({ webgpu: true });
  page = await browser.newPage();
  page.setDefaultTimeout(300_000);
  await load();
});
after(async () => {
  await browser?.close();
  await server?.close();
});

/** Opens the page anew and gives it what the tests use. */
async function load() {
  await page.goto(`${server.origin}/blank.html`);
  await page.evaluate(async () => {
    const library = await import("/package/dist/index.js");
    await library.init();
    const { Dataset, Trainer, openDevice } = library;
    const glyphs = Dataset.glyphs({ seed: 5, classes: 4, size: 16 });
    const examples = (first, each) => {
      const rows = Array.from({ length: 4 * each }, (_, i) => [i % 4, first + Math.floor(i / 4)]);
      return { images: rows.map(([c, e]) => glyphs.image(c, e)), labels: rows.map(([c]) => c) };
    };
    const names = ["north", "east", "south", "west"];
    const make = async (choice, options) => {
      const device = await openDevice(choice);
      const trainer = await Trainer.create(device, {
        model: { kind: "conv4", size: 16, filters: 8 },
        classes: names,
        batchSize: 10,
        learningRate: 5e-3,
        validation: 0.25,
        ...options,
      });
      const { images, labels } = examples(0, 20);
      trainer.add(images, labels);
      return { device, trainer };
    };
    const right = async (model) => {
      const { images, labels } = examples(100, 25);
      const found = await model.predict(images);
      return found.filter(([best], i) => best.label === names[labels[i]]).length / labels.length;
    };
    Object.assign(window, { library, examples, make, right });
  });
}

for (const choice of ["cpu", "gpu:0"]) {
  test(`a page trains, is told of it, stays responsive and uses the result (${choice})`, async () => {
    const got = await page.evaluate(async (choice) => {
      const { device, trainer } = await make(choice, { epochs: 16 });
      const before = await right(trainer);
      let beats = 0;
      const heart = setInterval(() => (beats += 1), 1);
      const events = [];
      for await (const event of trainer.fit()) {
        events.push(event);
      }
      clearInterval(heart);
      const profile = await trainer.profile(3);
      const network = await library.Network.load(device, await trainer.save());
      const accuracy = await right(trainer);
      const same = (await right(network)) === accuracy;
      const rest = { memory: device.memory(), plan: trainer.plan(), report: trainer.report(), trace: profile.toChromeTrace().length };
      trainer.free();
      const phases = profile.phases.map(({ name }) => name);
      return { events, before, accuracy, same, beats, kernels: profile.kernels.length, peak: profile.peakBytes, phases, ...rest };
    }, choice);
    const of = (name) => got.events.filter(({ event }) => event === name);
    assert.equal(of("step").length, 16 * 6);
    assert.equal(of("epoch").length, 16);
    assert.equal(got.events.at(-1).reason, "finished");
    assert.ok(of("validated").at(-1).accuracy >= 0.8, JSON.stringify(of("validated")));
    // Guessing gives a quarter.
    assert.ok(got.before < 0.7 && got.accuracy >= 0.85, `${got.before} before, ${got.accuracy} after`);
    assert.ok(got.same, "the saved network is another one");
    // One that has no turn between two steps beats never, or where the GPU is waited for only.
    assert.ok(got.beats >= 10, `${got.beats} beats in ${16 * 6} steps`);
    for (const phase of ["data", "forward", "backward", "step", "readback"]) assert.ok(got.phases.includes(phase));
    assert.ok(got.trace > 100);
    assert.equal(got.report.memoryBudget, 512 * 2 ** 20, "the preset for pages");
    if (choice !== "cpu") {
      assert.ok(got.kernels > 3 && got.peak > 0);
      assert.ok(got.peak < 1.3 * got.plan.peak + 2 ** 20, `${got.peak} bytes seen, ${got.plan.peak} planned`);
    }
    assert.ok(got.memory.peak >= got.memory.inUse && got.memory.limit > got.memory.peak);
  });
}

// The last column of the README's table.
test("every network by name takes a step", async () => {
  const losses = await page.evaluate(async () => {
    const { MODELS, Trainer, openDevice } = library;
    const device = await openDevice("cpu");
    const width = { mlp: "hidden", conv4: "filters", conv6: "filters" };
    const found = {};
    for (const [kind, { input: [channels, rows] }] of Object.entries(MODELS)) {
      // Of one row there are as many columns as usual.
      const sizes = rows === 1 ? {} : { size: 16 };
      const model = { kind, channels, ...sizes, [width[kind] ?? "width"]: 8 };
      const trainer = await Trainer.create(device, { model, classes: ["a", "b"], steps: 1, batchSize: 4 });
      const values = trainer.summary().input.reduce((product, side) => product * side, 1);
      const image = (seed) => Float32Array.from({ length: values }, (_, i) => ((i * 7 + seed * 13) % 32) / 31);
      trainer.add([0, 1, 2, 3].map(image), ["a", "b", "a", "b"]);
      for await (const event of trainer.fit()) if (event.event === "step") found[kind] = event.loss;
      trainer.free();
    }
    return { found, names: Object.keys(MODELS) };
  });
  assert.deepEqual(Object.keys(losses.found), losses.names);
  for (const [name, loss] of Object.entries(losses.found)) assert.ok(Number.isFinite(loss), `${name}: ${loss}`);
});

test("a network of one's own trains, is saved with its description, and learns from few examples in a worker", async () => {
  const got = await page.evaluate(async () => {
    const convolution = (name, filters) => ({ conv2d: { filters, kernel: 3, padding: "same" }, name });
    const model = {
      input: [1, 16, 16],
      layers: [
        convolution("first", 8), "batchNorm", { relu: {}, name: "wide" }, { maxPool: 2, name: "halved" },
        convolution("Left_1", 8), "batchNorm", { relu: {}, name: "left" },
        { add: {}, inputs: ["left", "halved"], name: "both" }, { meanPool: 2 }, "flatten",
      ],
    };
    const { device, trainer } = await make("cpu", { model, epochs: 12 });
    const before = await right(trainer);
    let last;
    for await (const event of trainer.fit()) last = event;
    const network = await library.Network.load(device, await trainer.save());
    const after = await right(trainer);
    const { startWorker } = await import("/package/dist/worker.js");
    const worker = await startWorker();
    await worker.openDevice("cpu");
    const options = { method: "maml", ways: 4, innerSteps: 1, innerRate: 0.1 };
    const created = await worker.createModel({ model: network.config.network, ...options });
    const summary = await worker.train({ glyphs: { classes: 20, size: 16 } }, { ways: 4, shots: 1, queries: 1, episodes: 2 });
    const layers = (await worker.summary()).layers.map(({ name }) => name);
    worker.terminate();
    const { training, config } = network;
    const same = (await right(network)) === after;
    return { before, after, same, last, training, config, summary: network.summary(), created, loss: summary.last.loss, layers };
  });
  // Guessing gives a quarter, give or take 0.04 on 100 images.
  assert.ok(got.after >= 0.6 && got.after > got.before, `${got.before} before, ${got.after} after`);
  assert.ok(got.same, "the saved network is another one");
  assert.equal(got.last.reason, "finished");
  assert.deepEqual([got.training.epochs, got.training.steps], [12, 72]);
  assert.ok(Number.isFinite(got.training.validation.balancedAccuracy), JSON.stringify(got.training));
  const names = got.summary.layers.map(({ name }) => name);
  assert.deepEqual(names.slice(0, 4), ["first", "batchNorm1", "wide", "halved"]);
  assert.ok(names.includes("Left_1") && names.at(-1) === "head");
  assert.deepEqual(got.config.network.layers.map(({ name }) => name), names);
  assert.deepEqual(got.config.network.layers.find(({ name }) => name === "both").inputs, ["left", "halved"]);
  assert.equal(got.config.model, "graph");
  // MAML takes the network as it is: its head has the four outputs of the file.
  assert.deepEqual(got.layers, names);
  assert.deepEqual(got.created.config.network, got.config.network);
  assert.ok(Number.isFinite(got.loss));
});

test("a model file says how its images are made and where it is from", async () => {
  const got = await page.evaluate(async () => {
    const { device, trainer } = await make("cpu", { steps: 1 });
    const bytes = await trainer.save();
    const plain = await library.Network.load(device, bytes);
    // As `forgeling import` writes it.
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const own = JSON.parse(header.__metadata__.forgeling);
    own.config.normalization = { mean: [0.25], deviation: [0.5] };
    own.config.card = { resampling: "bicubic", source: "somewhere", license: "Apache-2.0" };
    own.pictures = { kind: "pictures", fit: "pad" };
    header.__metadata__.forgeling = JSON.stringify(own);
    const text = new TextEncoder().encode(JSON.stringify(header));
    const file = new Uint8Array(8 + text.length + bytes.length - 8 - length);
    new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
    file.set(text, 8);
    file.set(bytes.subarray(8 + length), 8 + text.length);
    const described = await library.Network.load(device, file);
    const image = Float32Array.from({ length: 16 * 16 }, (_, i) => (i % 16) / 15);
    const standardized = image.map((value) => (value - 0.25) / 0.5);
    const [[first], [same]] = [await described.predict([image]), await plain.predict([standardized])];
    const card = ({ config: { pictures, normalization, card } }) => ({ pictures, normalization, card });
    return { plain: card(plain), described: card(described), first, same };
  });
  assert.deepEqual([got.plain.normalization, got.plain.card], [null, {}]);
  assert.deepEqual(got.described, {
    pictures: { kind: "pictures", fit: "pad" },
    normalization: { mean: [0.25], deviation: [0.5] },
    card: { resampling: "bicubic", source: "somewhere", license: "Apache-2.0" },
  });
  assert.deepEqual(got.first, got.same, "images are standardised as the file says");
});

const run = { epochs: 8, augment: true, seed: 3, checkpoints: { name: "packaging", keep: 2, every: 2 }, ema: { decay: 0.9 } };

/** What the steps of a run say, as exact as they are. */
const fit = (options, stop) =>
  page.evaluate(
    async ([options, stop]) => {
      const { trainer } = await make("cpu", options);
      const events = [];
      window.progress = 0;
      for await (const event of trainer.fit()) {
        events.push(event);
        if (event.event === "step") window.progress = event.step;
        if (event.step === stop && event.event === "saved") break;
      }
      return { events, accuracy: await right(trainer) };
    },
    [options, stop],
  );
const losses = ({ events }) => new Map(events.filter(({ event }) => event === "step").map(({ step, loss }) => [step, loss]));

test("a run goes on after the page was loaded anew in the middle of it, bit for bit", async () => {
  const whole = await fit({ ...run, checkpoints: { every: 2 } });
  assert.ok(whole.accuracy >= 0.7, `${whole.accuracy}`);
  const expected = losses(whole);
  assert.equal(expected.size, 48);

  // Not asked to stop: torn away while it trains.
  page.evaluate(async (options) => {
    window.progress = 0;
    const { trainer } = await make("cpu", options);
    for await (const { event, step } of trainer.fit()) {
      if (event === "step") window.progress = step;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }, run).catch(() => {});
  await page.waitForFunction(() => window.progress >= 9, null, { polling: 5 });
  await load();
  const second = await fit(run);
  const [resumed] = second.events;
  assert.equal(resumed.event, "resumed");
  assert.ok(resumed.step >= 6 && resumed.step < 48 && resumed.damaged.length === 0, JSON.stringify(resumed));
  const got = losses(second);
  assert.equal(got.size, 48 - resumed.step);
  for (const [step, loss] of got) assert.equal(loss, expected.get(step), `step ${step}`);
  assert.equal(second.accuracy, whole.accuracy);
});

test("a damaged checkpoint is found, and the one before it is used", async () => {
  const steps = await page.evaluate(async () => {
    const open = indexedDB.open("forgeling");
    const done = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: reject }));
    const database = await done(open);
    const store = database.transaction("checkpoints", "readwrite").objectStore("checkpoints");
    const all = await done(store.getAll());
    const last = all.at(-1);
    last.bytes[Math.floor(last.bytes.length / 2)] ^= 1;
    await done(store.put(last));
    database.close();
    return all.map(({ step }) => step);
  });
  assert.deepEqual(steps, [46, 48]);
  await load();
  const { events } = await fit({ ...run, epochs: 9 });
  assert.equal(events[0].step, 46);
  assert.match(events[0].damaged[0], /^indexeddb:packaging\/48: /);
  assert.equal(events.at(-1).step, 54);
  const left = await page.evaluate(async () => {
    await library.deleteCheckpoints("packaging");
    const { trainer } = await make("cpu", { epochs: 1, checkpoints: { name: "packaging" } });
    const { value } = await trainer.fit().next();
    await library.deleteCheckpoints("packaging");
    return value;
  });
  assert.deepEqual([left.event, left.step], ["step", 1]);
});

test("a budget that is too small makes smaller passes, and the same losses", async () => {
  const got = await page.evaluate(async () => {
    const losses = async (hardware) => {
      const model = { kind: "mlp", size: 16, hidden: 32 };
      const options = { model, batchSize: 400, steps: 5, validation: 0, optimizer: { sgd: {} }, learningRate: 0.1 };
      const { trainer } = await make("gpu:0", { ...options, hardware: { preset: "fast", ...hardware } });
      const { images, labels } = examples(200, 100);
      trainer.add(images, labels);
      const { peak } = trainer.plan();
      const events = [];
      for await (const event of trainer.fit()) events.push(event);
      const { microBatch } = trainer.report();
      trainer.free();
      return { peak, microBatch, events, losses: events.filter(({ event }) => event === "step").map(({ loss }) => loss) };
    };
    const free = await losses({});
    const tight = await losses({ memoryBudget: { bytes: Math.floor(free.peak / 2) } });
    return { free, tight };
  });
  assert.ok(!got.free.events.some(({ event }) => event === "micro_batch"));
  const halved = got.tight.events.filter(({ event }) => event === "micro_batch");
  assert.ok(halved.length > 0 && halved.at(-1).examples < 400, `${got.free.peak} bytes planned`);
  assert.equal(got.tight.microBatch, halved.at(-1).examples);
  got.free.losses.forEach((loss, i) => assert.ok(Math.abs(loss - got.tight.losses[i]) < 1e-5, `${loss} and ${got.tight.losses[i]}`));
});
