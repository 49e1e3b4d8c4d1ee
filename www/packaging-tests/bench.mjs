// Times training steps of forgeling and of its peers, and what a photograph takes, in one Chromium, each in a page of its
// own, in turns, and prints one JSON line for each.
//   node packaging-tests/bench.mjs [--rounds N] [--filters N] [--only TEXT]...
// --only measures the implementations whose label contains TEXT. WebGPU and WebGL run in software
// (SwiftShader) where there is no other adapter.
import { parseArgs } from "node:util";
import { launch } from "../tools/browser.mjs";
import { serve } from "../tools/serve.mjs";
import { hasTurn, lines, pace } from "./rounds.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "10" },
    filters: { type: "string", default: "32" },
    only: { type: "string", multiple: true, default: [""] },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const filters = Number(values.filters);
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(filters) || filters < 1) {
  console.error("--rounds and --filters take whole numbers above 0");
  process.exit(2);
}

const implementations = [
  { label: "forgeling cpu", peer: "forgeling", backend: "cpu", kind: "cpu", ours: true },
  { label: "forgeling gpu", peer: "forgeling", backend: "gpu:0", kind: "gpu", ours: true },
  { label: "tfjs cpu", peer: "tfjs", backend: "cpu", kind: "cpu" },
  { label: "tfjs webgl", peer: "tfjs", backend: "webgl", kind: "gpu" },
  { label: "tfjs webgpu", peer: "tfjs", backend: "webgpu", kind: "gpu" },
  { label: "jax wasm", peer: "jax", backend: "wasm", kind: "cpu" },
  { label: "jax wasm threads", peer: "jax", backend: "wasm", kind: "cpu", isolated: true },
  { label: "jax webgpu", peer: "jax", backend: "webgpu", kind: "gpu" },
].filter(({ label }) => values.only.some((text) => label.includes(text)));

const workloads = [
  {
    model: "protonet",
    label: `ProtoNet training step, Conv4-${filters}, 5-way 5-shot 15-query, 28×28, 1 episode per step`,
  },
  { model: "mlp", label: "MLP training step, 784-400-400-10, batch 128" },
  { model: "photograph", label: "a photograph of 320×240 named by EfficientNet-Lite0 at 224×224 and the nearest class mean" },
];

/** In the page: everything up to the first step, and how long it takes to have the library open. */
async function prepare({ peer, backend, model, filters, pool }) {
  const start = performance.now();
  const { open } = await import(`/packaging-tests/peers/${peer}.js`);
  const library = await open(backend);
  const openMs = performance.now() - start;
  if (!library[model]) return null;
  const bytes = Uint8Array.from(atob(pool), (c) => c.charCodeAt(0));
  globalThis.subject = await library[model](new Float32Array(bytes.buffer), filters);
  return { name: library.name, device: library.device, openMs };
}

/** In the page: milliseconds of a step, each with its loss read, and the last loss. */
async function turn(steps) {
  const start = performance.now();
  let loss;
  for (let step = 0; step < steps; step++) loss = await globalThis.subject.step();
  await globalThis.subject.finish();
  const milliseconds = (performance.now() - start) / steps;
  if (!Number.isFinite(loss)) throw new Error(`the loss is ${loss}`);
  return { milliseconds, loss };
}

/** In the page: the images that all of them learn from, as text. */
async function draw() {
  const { draw } = await import("/packaging-tests/peers/forgeling.js");
  const bytes = new Uint8Array((await draw()).buffer);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

async function open(browser, origin, isolated = false) {
  const page = await browser.newPage();
  await page.goto(`${origin}/${isolated ? "isolated" : "blank"}.html`);
  return page;
}

async function measure(browser, origin, pool, { model, label }) {
  const entries = [];
  for (const implementation of implementations) {
    const page = await open(browser, origin, implementation.isolated);
    try {
      const { peer, backend } = implementation;
      const description = await page.evaluate(prepare, { peer, backend, model, filters, pool });
      if (description === null) {
        await page.close();
        continue;
      }
      // The first steps compile kernels; the last one tells how long a step takes.
      const first = await page.evaluate(turn, 1);
      const { milliseconds } = await page.evaluate(turn, 1);
      const entry = { ...implementation, ...description, page, times: [], firstMs: first.milliseconds, first: first.loss };
      entries.push({ ...entry, pace: pace(milliseconds, rounds) });
      console.log(`${implementation.label}: ready, ${Math.round(milliseconds)} ms`);
    } catch (error) {
      // A peer that does not run here must not keep the others from being measured.
      if (implementation.ours) throw error;
      console.log(`${label}: ${implementation.label} left out: ${String(error.message).split("\n")[0]}`);
      await page.close();
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const entry of entries) {
      if (!hasTurn(round, entry.pace.rounds, rounds)) continue;
      await entry.page.bringToFront();
      const { milliseconds, loss } = await entry.page.evaluate(turn, entry.pace.steps);
      entry.times.push(milliseconds);
      entry.last = loss;
    }
  }
  for (const line of lines(label, entries)) console.log(JSON.stringify(line));
  for (const { name, first, last, page } of entries) {
    console.log(`loss of ${name}: ${first.toFixed(3)} at first, ${last.toFixed(3)} at the end`);
    await page.close();
  }
}

const server = await serve();
const browser = await launch({ webgpu: true });
try {
  const page = await open(browser, server.origin);
  const pool = await page.evaluate(draw);
  await page.close();
  for (const workload of workloads) await measure(browser, server.origin, pool, workload);
} finally {
  await browser.close();
  await server.close();
}
