import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { replaceBinding } from "../dist/binding.js";
import { replaceShelf } from "../dist/checkpoints.js";
import { ForgelingError, Network, Trainer, deleteCheckpoints, imageToPixels, init, openDevice } from "../dist/index.js";
import * as fake from "./fake-binding.mjs";

const shelves = new Map();
const rows = (name) => shelves.get(name) ?? [];
const shelf = {
  read: async (name) => [...rows(name)],
  write: async (name, kept, surplus) => {
    const others = [...rows(name).filter(({ step }) => step !== kept.step), kept];
    const gone = surplus(others.map(({ step }) => step));
    shelves.set(name, others.filter(({ step }) => !gone.includes(step)));
  },
  clear: async (name) => void shelves.delete(name),
};
const steps = (name) => rows(name).map(({ step }) => step).sort((a, b) => a - b);

beforeEach(() => {
  replaceBinding(async () => fake);
  replaceShelf(shelf);
  shelves.clear();
});

const rejected = (code, more = {}) => (error) => {
  assert.ok(error instanceof ForgelingError, `${error} is a ForgelingError`);
  assert.equal(error.code, code);
  for (const [key, value] of Object.entries(more)) assert.deepEqual(error[key], value);
  return true;
};

async function make(options = {}) {
  await init();
  const device = await openDevice("cpu");
  const trainer = await Trainer.create(device, {
    model: { kind: "mlp", size: 2, hidden: 3 },
    classes: ["cat", "dog"],
    epochs: 3,
    ...options,
  });
  return { device, trainer };
}

async function all(generator) {
  const events = [];
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return { events, summary: value };
    events.push(value);
  }
}
const names = (events) => events.map(({ event }) => event);

test("examples take labels by name or number, and several forms", async () => {
  const { trainer } = await make();
  trainer.add(new Float32Array(8), ["cat", 1]);
  trainer.add([new Float32Array(4), { data: new Uint8ClampedArray(64).fill(255), width: 4, height: 4 }], ["dog", "dog"]);
  trainer.add({ data: new Uint8ClampedArray(64), width: 4, height: 4 }, "cat");
  assert.deepEqual(trainer.counts, [2, 3]);
  assert.throws(() => trainer.add(new Float32Array(4), "cow"), rejected("invalid_argument", { got: "cow", expected: "cat, dog" }));
  assert.throws(() => trainer.add(new Float32Array(4), 0.5), rejected("invalid_argument"));
  assert.throws(() => trainer.add(new Float32Array(4), [0, 1]), rejected("invalid_argument"));
  const { trainer: table } = await make({ model: { kind: "mlp", inputs: 3 }, classes: 2 });
  table.add(Float32Array.of(1, -2, 3), "1");
  assert.throws(() => table.add({ data: new Uint8ClampedArray(4), width: 1, height: 1 }, 0), rejected("invalid_argument"));
});

test("events come typed and in order, and the generator returns the summary", async () => {
  const { trainer } = await make({ epochs: 2 });
  const { events, summary } = await all(trainer.fit());
  assert.deepEqual(names(events), ["step", "step", "epoch", "step", "step", "epoch", "stopped"]);
  assert.equal(events[0].learningRate, 1e-3);
  assert.ok(!("learning_rate" in events[0]));
  assert.deepEqual([summary.steps, summary.examplesPerSecond, summary.reason], [4, 9, "finished"]);
});

test("training waits for the loop around it, and lets timers run", async () => {
  const { trainer } = await make({ epochs: 4 });
  const order = [];
  setTimeout(() => order.push("timer"), 0);
  for await (const { event, step } of trainer.fit()) {
    if (event !== "step") continue;
    order.push(step);
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(trainer.steps, step, "no step is taken before this one was looked at");
  }
  assert.ok(order.indexOf("timer") < order.length - 1);
});

test("while training is under way other calls fail instead of waiting for ever", async () => {
  const { trainer } = await make();
  for await (const _ of trainer.fit()) {
    await assert.rejects(trainer.predict(new Float32Array(4)), rejected("invalid_argument", { operation: "predict" }));
    await assert.rejects(trainer.save(), rejected("invalid_argument"));
    await assert.rejects(trainer.fit().next(), rejected("invalid_argument"));
    await assert.rejects(trainer.profile(), rejected("invalid_argument"));
    break;
  }
  assert.equal((await trainer.predict(new Float32Array(4))).length, 1);
});

test("a signal cancels, break stops, and training goes on after either", async () => {
  const { trainer } = await make({ epochs: 20, checkpoints: {} });
  const abort = new AbortController();
  let seen = 0;
  const loop = async () => {
    for await (const { event } of trainer.fit({ signal: abort.signal })) if (event === "step" && (seen += 1) === 3) abort.abort("enough");
  };
  await assert.rejects(loop(), rejected("cancelled", { cause: "enough" }));
  assert.equal(seen, 3);
  assert.ok(trainer.steps <= 4, `${trainer.steps} steps`);
  await assert.rejects(trainer.fit({ signal: abort.signal }).next(), rejected("cancelled"));
  const before = trainer.steps;
  for await (const { event, step } of trainer.fit()) {
    if (event === "resumed") assert.equal(step, before);
    if (event === "step") break;
  }
  assert.ok(trainer.steps <= before + 2);
});

test("a failure reaches the loop with its code, after the events before it", async () => {
  const { trainer } = await make({ learningRate: 666 });
  await assert.rejects(all(trainer.fit()), rejected("diverged", { operation: "fit" }));
  await assert.rejects(all(trainer.fit()), rejected("diverged"), "and the trainer is not stuck");
});

test("the last checkpoints are kept under a name, and a new trainer goes on from them", async () => {
  const options = { epochs: 5, checkpoints: { name: "run", keep: 2 } };
  const { trainer } = await make(options);
  for await (const { event, step } of trainer.fit()) if (event === "step" && step === 7) break;
  assert.deepEqual(steps("run"), [6, 8]);
  const { trainer: again } = await make(options);
  const { events } = await all(again.fit());
  assert.deepEqual(events[0], { event: "resumed", step: 8, epoch: 4, damaged: [] });
  assert.deepEqual(steps("run"), [8, 10]);
  assert.equal(events.find(({ event }) => event === "saved").place, "indexeddb:run/10");
  const { events: over } = await all((await make(options)).trainer.fit());
  assert.deepEqual(names(over), ["resumed", "saved", "stopped"]);
  await deleteCheckpoints("run");
  const { events: anew } = await all((await make({ ...options, epochs: 1 })).trainer.fit());
  assert.equal(anew[0].step, 1);
});

test("a damaged checkpoint is passed over, and what is later than the run goes with it", async () => {
  const options = { epochs: 4, checkpoints: { name: "run", keep: 3 } };
  const bytes = (text) => new TextEncoder().encode(text);
  shelves.set("run", [{ step: 2, bytes: bytes("2") }, { step: 4, bytes: bytes("4") }, { step: 99, bytes: bytes("x") }]);
  const { events } = await all((await make(options)).trainer.fit());
  assert.deepEqual(events[0], { event: "resumed", step: 4, epoch: 2, damaged: ["indexeddb:run/99: not whole"] });
  assert.deepEqual(steps("run"), [4, 6, 8]);
});

test("bytes of a checkpoint carry a run to another trainer", async () => {
  const { trainer } = await make({ epochs: 2, checkpoints: {} });
  assert.throws(() => trainer.checkpoint(), rejected("not_ready"));
  await all(trainer.fit());
  const { trainer: other } = await make({ epochs: 3 });
  const { events } = await all(other.fit({ from: trainer.checkpoint() }));
  assert.deepEqual([events[0].event, events[0].step, other.steps], ["resumed", 4, 6]);
  assert.equal(rows("run").length, 0);
});

test("a checkpoint that cannot be kept ends training with `io`", async () => {
  replaceShelf({ ...shelf, write: () => Promise.reject(new Error("the disk is full")) });
  const { trainer } = await make({ checkpoints: { name: "run" } });
  await assert.rejects(all(trainer.fit()), rejected("io", { operation: "save_checkpoint", message: "IndexedDB: the disk is full" }));
  assert.ok(trainer.steps < 6, "it did not train on");
  replaceShelf();
  const { trainer: nowhere } = await make({ checkpoints: { name: "run" } });
  await assert.rejects(all(nowhere.fit()), rejected("io", { message: "IndexedDB: this page has none" }));
});

test("predictions are sorted and named; a saved network gives the same", async () => {
  const { device, trainer } = await make();
  const [first, second] = await trainer.predict(new Float32Array(8));
  assert.deepEqual(first.map(({ label }) => label), ["dog", "cat"]);
  assert.ok(second[0].probability > second[1].probability);
  const network = await Network.load(device, await trainer.save());
  assert.deepEqual(network.classes, ["cat", "dog"]);
  assert.deepEqual(await network.predict(new Float32Array(8)), [first, second]);
  assert.deepEqual(network.config, {
    model: "mlp",
    input: { channels: 1, height: 2, width: 2 },
    classes: ["cat", "dog"],
    network: { input: [1, 2, 2], layers: ["flatten", { linear: { outputs: 2 } }] },
  });
  const validation = { loss: 0.5, accuracy: 1, balancedAccuracy: 1, examples: 2 };
  assert.deepEqual(network.training, { steps: 6, epochs: 3, examples: 24, validation });
  assert.deepEqual(network.summary(), trainer.summary());
  assert.equal(network.summary().layers[1].multiplyAdds, 5);
  assert.deepEqual([trainer.trainedValues, trainer.bufferValues], [8, 0]);
});

test("a network of one's own goes through as it is", async () => {
  const model = {
    input: [1, 2, 2],
    layers: [{ meanPool: 2, name: "small_pool" }, { flatten: {}, inputs: ["small_pool"], name: "aB_c" }],
  };
  const { trainer } = await make({ model });
  trainer.add(new Float32Array(4), "cat");
  assert.deepEqual(trainer.summary().layers.map(({ name, layer }) => [name, layer]), [["small_pool", "meanPool"], ["aB_c", "flatten"]]);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(await trainer.save())).model, model);
});

test("profile, memory, plan and report come in camel case", async () => {
  const { device, trainer } = await make();
  const profile = await trainer.profile(2);
  assert.deepEqual([profile.peakBytes, profile.phases[0].gpuSeconds, profile.memory], [64, 0.5, [[0, 1]]]);
  assert.equal(profile.toChromeTrace(), "{}");
  assert.deepEqual(device.memory(), { inUse: 10, peak: 30, reserved: 20, limit: 2 ** 31 });
  assert.equal(trainer.plan(8).peak, 800);
  assert.equal(trainer.plan().batch, 32);
  assert.equal(trainer.report().memoryBudget, null);
  for (const wrong of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => trainer.plan(wrong), rejected("invalid_argument"));
    await assert.rejects(trainer.profile(wrong), rejected("invalid_argument"));
  }
  const before = fake.liveObjects();
  await assert.rejects(device.profile(() => Promise.reject(new Error("mine"))), rejected("internal", { message: "mine" }));
  assert.equal(fake.liveObjects(), before, "the profiler is freed");
});

test("free ends training under way, and what is freed says so", async () => {
  const { trainer } = await make({ epochs: 1000 });
  const before = fake.liveObjects();
  const loop = trainer.fit();
  await loop.next();
  trainer.free();
  await loop.return();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(fake.liveObjects(), before - 1);
  await assert.rejects(trainer.predict(new Float32Array(4)), rejected("freed"));
});

test("options that make no sense are refused", async () => {
  for (const options of [{ classes: 0 }, { classes: ["a", "a"] }, { checkpoints: { keep: 0 } }]) {
    await assert.rejects(make(options), rejected("invalid_argument"));
  }
});

test("a picture becomes its central square, brightness or colours", () => {
  const width = 6, height = 4;
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      // Left half of the central square red, right half blue; the rims white.
      const color = x < 1 || x > 4 ? [255, 255, 255] : x < 3 ? [255, 0, 0] : [0, 0, 255];
      data.set([...color, 255], (y * width + x) * 4);
    }
  }
  const near = (got, expected) => got.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-6, `${[...got]}`));
  near(imageToPixels({ data, width, height }, 2), [0.2126, 0.0722, 0.2126, 0.0722]);
  near(imageToPixels({ data, width, height }, 2, 3), [1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
  assert.equal(imageToPixels({ data: new Uint8ClampedArray(4), width: 1, height: 1 }, 3).length, 9);
  assert.throws(() => imageToPixels({ data, width: 5, height }, 2), rejected("invalid_argument"));
  assert.throws(() => imageToPixels({ data, width, height }, 0), rejected("invalid_argument"));
});
