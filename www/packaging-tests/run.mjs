// What is published is what is tested: packs `forgeling`, installs the archive into an empty project, and uses
// it there as a stranger would, in Node and with TypeScript.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("../package", import.meta.url));
const tsc = fileURLToPath(new URL("../node_modules/typescript/bin/tsc", import.meta.url));
let folder;
let files;

const run = (command, ...args) =>
  execFileSync(command, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Runs a module in the consumer's folder and returns what it printed. */
const consume = (code) => run(process.execPath, "--input-type=module", "--eval", code).trim();

before(() => {
  folder = mkdtempSync(join(tmpdir(), "forgeling-consumer-"));
  const [packed] = JSON.parse(run("npm", "pack", source, "--json", "--pack-destination", folder));
  files = packed.files.map(({ path }) => path);
  writeFileSync(join(folder, "package.json"), '{ "name": "consumer", "private": true, "type": "module" }');
  run("npm", "install", join(folder, packed.filename), "--offline", "--no-audit", "--no-fund");
});
after(() => folder && rmSync(folder, { recursive: true }));

test("the archive holds code, types, wasm and nothing else", () => {
  const needed = ["package.json", "README.md", "wasm/forgeling.js", "wasm/forgeling_bg.wasm"];
  for (const name of ["index", "worker", "worker-entry"]) needed.push(`dist/${name}.js`, `dist/${name}.d.ts`);
  for (const path of needed) assert.ok(files.includes(path), `${path} is missing from ${files}`);
  const strange = files.filter((path) => !/^(dist|wasm)\/|^(package\.json|README\.md|LICENSE[-\w]*)$/.test(path));
  assert.deepEqual(strange, []);
});

test("it depends on nothing", () => {
  const manifest = JSON.parse(readFileSync(join(folder, "node_modules/forgeling/package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.sideEffects, false);
});

test("importing it in Node does nothing and needs no browser", () => {
  const printed = consume(`
    const before = new Set(Object.getOwnPropertyNames(globalThis));
    const { init, openDevice, imageToInk, ForgelingError } = await import("forgeling");
    const { startWorker } = await import("forgeling/worker");
    const added = Object.getOwnPropertyNames(globalThis).filter((name) => !before.has(name));
    const error = await openDevice().catch((e) => e);
    const ink = imageToInk({ data: new Uint8ClampedArray(64), width: 4, height: 4 }, 2);
    console.log(JSON.stringify([added, typeof init, typeof startWorker, error instanceof ForgelingError, error.code, ink.length]));
  `);
  assert.deepEqual(JSON.parse(printed), [[], "function", "function", true, "not_ready", 4]);
});

test("the exports map offers what it says and hides the rest", () => {
  const resolve = (name) => consume(`console.log(import.meta.resolve(${JSON.stringify(name)}))`);
  assert.match(resolve("forgeling/worker-entry"), /dist\/worker-entry\.js$/);
  assert.match(resolve("forgeling/forgeling_bg.wasm"), /wasm\/forgeling_bg\.wasm$/);
  assert.throws(() => resolve("forgeling/dist/binding.js"), /ERR_PACKAGE_PATH_NOT_EXPORTED/);
});

test("the wasm in the archive starts in Node", () => {
  const printed = consume(`
    import { readFile } from "node:fs/promises";
    import { fileURLToPath } from "node:url";
    import { init, version, Dataset, ForgelingError } from "forgeling";
    await init(await readFile(fileURLToPath(import.meta.resolve("forgeling/forgeling_bg.wasm"))));
    const data = Dataset.glyphs({ classes: 7, size: 20 });
    let code;
    try { data.image(7000, 0); } catch (error) { code = error instanceof ForgelingError && error.code; }
    console.log(JSON.stringify([version(), data.classCount, data.image(0, 0).length, code]));
  `);
  const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
  assert.deepEqual(JSON.parse(printed), [manifest.version, 7, 400, "invalid_argument"]);
});

test("networks by name and of one's own are made, summed up and saved by the real module", () => {
  const printed = consume(`
    import { readFile } from "node:fs/promises";
    import { fileURLToPath } from "node:url";
    import { LAYERS, MODELS, Network, ProtoNet, Trainer, init, openDevice } from "forgeling";
    await init(await readFile(fileURLToPath(import.meta.resolve("forgeling/forgeling_bg.wasm"))));
    const device = await openDevice("cpu");
    const caught = (body) => { try { body(); } catch (error) { return error.toJSON(); } };

    // Every network of the list is there, and every option that it names.
    const made = [];
    for (const [model, { options }] of Object.entries(MODELS)) {
      const names = { mlp: "hidden", conv4: "filters", conv6: "filters" };
      // Small enough to be made at once.
      const given = Object.entries(options).map(([name, { default: usual, least }]) => {
        return [name === "width" ? names[model] ?? name : name, Math.max(Math.min(usual, 8), least)];
      });
      const small = Object.fromEntries(given);
      const trainer = await Trainer.create(device, { model: { kind: model, ...small }, classes: 3 });
      const { input, output, trainedValues } = trainer.summary();
      made.push([model, input, output, trainedValues === trainer.trainedValues && trainedValues > 0]);
      trainer.free();
    }

    const own = {
      input: [1, 12, 10],
      layers: [
        { conv2d: { filters: 3, kernel: [3, 1], padding: "same" }, name: "my_layer" },
        "batchNorm",
        { relu: {}, name: "reLU_2" },
        { meanPool: { size: [2, 1], stride: 2 } },
        { globalMeanPool: {}, name: "pooled" },
      ],
    };
    const net = ProtoNet.create(device, { model: own, method: "maml", ways: 4 });
    const summary = net.summary();
    const again = ProtoNet.create(device, { model: net.config.network });
    const loaded = await ProtoNet.load(device, await net.save());
    const trainer = await Trainer.create(device, { model: own, classes: ["a", "b"] });
    const network = await Network.load(device, await trainer.save());
    const { model, classes, input } = network.config;
    // Each layer is one that the types know.
    const kinds = new Set(summary.layers.map(({ layer }) => layer));
    const bad = (layer) => caught(() => ProtoNet.create(device, { model: { input: [1, 8, 8], layers: ["relu", layer] } }));
    const around = {}; around.model = around;
    const deep = {}; let inner = deep; for (let i = 0; i < 500; i += 1) inner = inner.inputs = {};
    console.log(JSON.stringify({
      made, summary, names: net.config.network.layers.map(({ name }) => name), config: { ...net.config, network: undefined },
      counts: [net.trainedValues, net.bufferValues], same: JSON.stringify(loaded.config) === JSON.stringify(net.config),
      again: again.summary().trainedValues, model, classes, input, outputs: network.summary().output,
      unknown: [...kinds].filter((kind) => !LAYERS.includes(kind)),
      errors: [
        bad({ conv2d: { filters: 2, kernel: 9 }, name: "too_large" }),
        bad({ conv2d: { filters: 2, kernel: 3, colour: 1 }, name: "my_layer" }),
        bad({ add: {}, inputs: ["nobody"], name: "sum" }),
        caught(() => ProtoNet.create(device, { model: own, filters: 8 })),
        caught(() => ProtoNet.create(device, { model: "vgg" })),
        caught(() => ProtoNet.create(device, around)),
        caught(() => ProtoNet.create(device, { model: deep })),
      ],
    }));
  `);
  const got = JSON.parse(printed);
  const names = got.made.map(([name]) => name);
  for (const name of ["mlp", "conv4", "conv6", "vit", "resnet12", "resnet50"]) assert.ok(names.includes(name), name);
  for (const [name, input, output, right] of got.made) {
    assert.deepEqual([input.length, output, right], [3, [3], true], name);
  }
  // 9 weights and 3 biases, 3 norms, and a head of 4 classes with a bias each.
  assert.deepEqual(got.counts, [3 * 3 + 3 + 2 * 3 + 4 * 3 + 4, 6]);
  const { layers, ...all } = got.summary;
  assert.deepEqual(all, {
    input: [1, 12, 10],
    output: [4],
    features: [3],
    trainedValues: got.counts[0],
    bufferValues: 6,
    multiplyAdds: 3 * 3 * 12 * 10 + 3 * 4,
  });
  assert.deepEqual(layers.map(({ name }) => name), ["my_layer", "batchNorm1", "reLU_2", "meanPool1", "pooled", "head"]);
  assert.deepEqual(got.names, layers.map(({ name }) => name).slice(0, -1));
  assert.deepEqual(layers[3], {
    name: "meanPool1",
    layer: "meanPool",
    output: [3, 6, 5],
    trainedValues: 0,
    bufferValues: 0,
    multiplyAdds: 0,
  });
  assert.deepEqual(got.config, { method: "maml", ways: 4, seed: 0, channels: 1, size: null, pictures: null });
  assert.ok(got.same, "what was saved is another network");
  assert.equal(got.again, 3 * 3 + 3 + 2 * 3);
  assert.deepEqual([got.model, got.classes, got.outputs], ["graph", ["a", "b"], [2]]);
  assert.deepEqual(got.input, { channels: 1, height: 12, width: 10 });
  assert.deepEqual(got.unknown, []);
  const named = ["too_large", "my_layer", "sum", "filters", "vgg", "plain object", "recursion"];
  got.errors.forEach((error, i) => {
    assert.equal(error?.code, "invalid_argument", named[i]);
    assert.ok(error.message.includes(named[i]), `${named[i]}: ${error.message}`);
  });
  assert.equal(got.errors[2].expected, "'input' or the name of a layer before");
});

const consumer = `
import { Dataset, ForgelingError, MODELS, ProtoNet, Trainer, init, openDevice } from "forgeling";
import type { ErrorCode, FitEvent, ModelName, NetworkGraph, NetworkSummary } from "forgeling";
import { startWorker, type ForgelingWorker } from "forgeling/worker";

export async function main(signal: AbortSignal): Promise<number> {
  await init();
  const device = await openDevice("gpu:0");
  using data = Dataset.glyphs({ seed: 1n, split: "train", classes: 20, size: 28 });
  const model = ProtoNet.create(device, { filters: 32 });
  let last: FitEvent | undefined;
  for await (last of model.fit(data, { minutes: 1, signal })) console.log(last.learningRate);
  using trainer = await Trainer.create(device, {
    model: { kind: "mlp", size: 28, hidden: 32 },
    classes: ["yes", "no"],
    schedule: { kind: "warm_up", steps: 5, then: { kind: "cosine", initial: 1e-2, floor: 0, steps: 100 } },
    hardware: { preset: "memory_constrained", memoryBudget: { fraction: 0.25 } },
    checkpoints: { name: "consumer", keep: 2 },
  });
  trainer.add(data.image(0, 0), "yes");
  for await (const event of trainer.fit({ signal })) {
    if (event.event === "validated") console.log(event.accuracy ?? event.loss);
    if (event.event === "micro_batch") console.log(event.examples);
  }
  const own: NetworkGraph = {
    input: [1, 28, 28],
    layers: [
      { conv2d: { filters: 8, kernel: [3, 5], stride: 2, padding: "same", initial: "he" }, name: "first" },
      "batchNorm",
      { relu: {}, name: "a" },
      { conv2d: { filters: 8, kernel: 1 }, name: "b" },
      { add: {}, inputs: ["a", "b"] },
      { maxPool: 2 },
      "flatten",
      { linear: { outputs: 2, bias: false } },
    ],
  };
  const summary: NetworkSummary = ProtoNet.create(device, { model: own, method: "maml" }).summary();
  for (const { name, layer, output, multiplyAdds } of summary.layers) console.log(name, layer, output[0], multiplyAdds);
  const names = Object.keys(MODELS) as ModelName[];
  await Trainer.create(device, { model: own, classes: 2 });
  await Trainer.create(device, { model: names[0]!, classes: 2 });
  await Trainer.create(device, { model: { kind: "vit", size: 28, width: 32, depth: 2, heads: 4, patch: 7 }, classes: 2 });
  await Trainer.create(device, { model: { kind: "conv4", filters: 8, blocks: 3 }, classes: 2 });
  await device.warmUp({ model: model.config.network });
  const [best] = await model.classifier().classify(data.image(0, 0));
  const tuned = model.classifier({ name: "lora", rank: 2, fineTune: { patience: 5 } });
  const { fineTune } = await tuned.adapt({ signal, report: ({ epoch, heldOutLoss }) => console.log(epoch, heldOutLoss) });
  console.log(fineTune?.epochs);
  return best?.probability ?? last?.loss ?? 0;
}
export const codeOf = (error: ForgelingError): ErrorCode => error.code;
export const start = (): Promise<ForgelingWorker> => startWorker();
`;

function check(name, text, resolution) {
  writeFileSync(join(folder, name), text);
  const library = ["--lib", "ES2022,DOM,ESNext.Disposable"];
  const strict = ["--strict", "--noEmit", "--target", "ES2022", "--exactOptionalPropertyTypes"];
  try {
    return run(process.execPath, tsc, ...strict, ...resolution, ...library, name);
  } catch (error) {
    return error.stdout;
  }
}
const resolutions = [
  ["--module", "NodeNext", "--moduleResolution", "NodeNext"],
  ["--module", "ESNext", "--moduleResolution", "Bundler"],
];

test("the types resolve for a strict consumer, library checked too", () => {
  for (const resolution of resolutions) assert.equal(check("good.ts", consumer, resolution), "");
});

test("the types refuse what is wrong", () => {
  for (const [wrong, why] of [
    ['import { openDevice } from "forgeling"; openDevice("tpu");', /not assignable/],
    ['import { Dataset } from "forgeling"; Dataset.glyphs({ split: "validation" });', /not assignable/],
    [
      'import { Trainer, type Device } from "forgeling"; declare const d: Device; Trainer.create(d, { model: { kind: "conv4", hidden: 3 }, classes: 2 });',
      /does not exist in type/,
    ],
    [
      'import { Trainer, type Device } from "forgeling"; declare const d: Device; Trainer.create(d, { model: { kind: "resnet12", stem: 3 }, classes: 2 });',
      /does not exist in type/,
    ],
    ['import type { ModelName } from "forgeling"; export const name: ModelName = "vgg";', /not assignable/],
    [
      'import type { LayerDescription } from "forgeling"; export const layer: LayerDescription = { conv2d: { filters: 3 } };',
      /'kernel' is missing/,
    ],
    [
      'import type { LayerDescription } from "forgeling"; export const layer: LayerDescription = { relu: {}, gelu: {} };',
      /not assignable/,
    ],
    ['import type { LayerDescription } from "forgeling"; export const layer: LayerDescription = "conv2d";', /not assignable/],
    ['import { replaceBinding } from "forgeling"; replaceBinding();', /no exported member/],
  ]) {
    assert.match(check("wrong.ts", wrong, resolutions[0]), why);
  }
});
