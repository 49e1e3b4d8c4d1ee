import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { replaceBinding } from "../dist/binding.js";
import { Continual, ForgelingError, init, openDevice } from "../dist/index.js";
import * as fake from "./fake-binding.mjs";

beforeEach(() => replaceBinding(async () => fake));

const rejected = (code, more = {}) => (error) => {
  assert.ok(error instanceof ForgelingError, `${error} is a ForgelingError`);
  assert.equal(error.code, code);
  for (const [key, value] of Object.entries(more)) assert.deepEqual(error[key], value);
  return true;
};

async function make(options = {}) {
  await init();
  const device = await openDevice("cpu");
  return { device, learner: Continual.create(device, { model: { kind: "mlp", size: 2 }, classes: 3, ...options }) };
}
const white = { data: new Uint8ClampedArray(64).fill(255), width: 4, height: 4 };

test("tasks are learned one after the other, and each end is a row", async () => {
  const { learner } = await make({ buffer: { perClass: 2 } });
  const events = [];
  const summary = await learner.learn(new Float32Array(8), [2, 0], { onEvent: (event) => events.push(event) });
  assert.deepEqual(events.map(({ step, learningRate }) => [step, learningRate]), [[1, 1e-3], [2, 1e-3]]);
  assert.deepEqual([summary.steps, summary.examplesPerSecond, summary.reason], [2, 9, "finished"]);
  assert.deepEqual(await learner.endTask(white, 0), [1]);
  await learner.learn([white, new Float32Array(4)], Uint8Array.of(1, 1));
  assert.deepEqual(await learner.endTask(), [1]);
  await learner.learn(white, 2);
  assert.deepEqual(await learner.endTask([white], [2]), [0.5, 1]);
  assert.deepEqual(learner.accuracyMatrix(), [[1], [1], [0.5, 1]]);
  assert.deepEqual(await learner.classify(new Float32Array(8)), [2, 2]);
  assert.deepEqual(await learner.predict([white]), [[0, 0, 1]]);
  assert.deepEqual([learner.steps, learner.classes], [5, 3]);
});

test("what was saved goes on", async () => {
  const { device, learner } = await make();
  await learner.learn(new Float32Array(8), [0, 1]);
  await learner.endTask(white, 1);
  const other = Continual.load(device, await learner.save());
  assert.deepEqual([other.steps, other.classes, other.accuracyMatrix()], [2, 3, [[1]]]);
  assert.deepEqual(await other.classify(white), [1]);
});

test("a signal ends learning after the step, and what was learned is kept", async () => {
  const { learner } = await make();
  const abort = new AbortController();
  const onEvent = ({ step }) => step === 2 && abort.abort("enough");
  const learning = learner.learn(new Float32Array(40), new Array(10).fill(1), { signal: abort.signal, onEvent });
  await assert.rejects(learning, rejected("cancelled", { operation: "continual_learn", cause: "enough" }));
  assert.equal(learner.steps, 2);
  await assert.rejects(learner.learn(white, 0, { signal: abort.signal }), rejected("cancelled"));
  assert.equal(learner.steps, 2);
});

test("a page stays alive while it learns", async () => {
  const { learner } = await make();
  const order = [];
  setTimeout(() => order.push("timer"), 0);
  await learner.learn(new Float32Array(80), new Array(20).fill(0), {
    onEvent: ({ step }) => {
      order.push(step);
      const end = performance.now() + 1;
      while (performance.now() < end);
    },
  });
  assert.ok(order.indexOf("timer") < order.length - 1);
});

test("what makes no sense is refused, and what is freed says so", async () => {
  for (const options of [{ classes: 0 }, { classes: 1.5 }, { strategy: "none" }]) {
    await assert.rejects(make(options), rejected("invalid_argument"));
  }
  const { learner } = await make();
  await assert.rejects(learner.endTask(), rejected("invalid_argument", { operation: "end_task" }));
  for (const labels of [-1, 0.5, 3, [0, 0]]) {
    await assert.rejects(learner.learn(white, labels), rejected("invalid_argument"));
  }
  await learner.learn(white, 0);
  await assert.rejects(learner.endTask(white), rejected("invalid_argument", { expected: "both or neither" }));
  const before = fake.liveObjects();
  learner.free();
  assert.equal(fake.liveObjects(), before - 1);
  await assert.rejects(learner.classify(white), rejected("freed"));
});
