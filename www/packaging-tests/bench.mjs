// Times ProtoNet training steps in Chromium and prints one JSON line per measurement.
//   node packaging-tests/bench.mjs [--webgpu] [--rounds N] [--filters N]
// --webgpu adds a measurement on WebGPU in software (SwiftShader), where a step takes seconds.
import { parseArgs } from "node:util";
import { launch } from "../tools/browser.mjs";
import { serve } from "../tools/serve.mjs";

const { values } = parseArgs({
  options: {
    webgpu: { type: "boolean", default: false },
    rounds: { type: "string", default: "20" },
    filters: { type: "string", default: "32" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const filters = Number(values.filters);
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(filters) || filters < 1) {
  console.error("--rounds and --filters take whole numbers above 0");
  process.exit(2);
}

/** Runs in the page: the times of `rounds` steps after two that warm up, in milliseconds. */
async function measure({ choice, rounds, filters }) {
  const { init, openDevice, Dataset, ProtoNet } = await import("/package/dist/index.js");
  await init();
  const device = await openDevice(choice);
  const data = Dataset.glyphs({ classes: 50, size: 28 });
  const model = ProtoNet.create(device, { filters, size: 28 });
  const times = [];
  let start = performance.now();
  for await (const event of model.fit(data, { ways: 5, shots: 5, queries: 15, episodes: rounds + 2 })) {
    if (!Number.isFinite(event.loss)) throw new Error(`the loss is ${event.loss}`);
    times.push(performance.now() - start);
    start = performance.now();
  }
  return { device: `${device.name} (${device.kind}, ${device.backend})`, times: times.slice(2) };
}

const round = (value) => Math.round(value * 100) / 100;
const server = await serve();
try {
  for (const choice of values.webgpu ? ["cpu", "gpu:0"] : ["cpu"]) {
    const browser = await launch({ webgpu: choice !== "cpu" });
    try {
      const page = await browser.newPage();
      await page.goto(`${server.origin}/blank.html`);
      const { device, times } = await page.evaluate(measure, { choice, rounds, filters });
      times.sort((a, b) => a - b);
      const middle = times.length / 2;
      const median = (times[Math.ceil(middle) - 1] + times[Math.floor(middle)]) / 2;
      console.log(
        JSON.stringify({
          workload: `protonet_step conv4 ${filters} filters 5-way 5-shot 15-query 28x28`,
          implementation: "forgeling wasm",
          device,
          median_ms: round(median),
          min_ms: round(times[0]),
          max_ms: round(times.at(-1)),
          rounds: times.length,
        }),
      );
    } finally {
      await browser.close();
    }
  }
} finally {
  await server.close();
}
