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

const consumer = `
import { Dataset, ForgelingError, ProtoNet, Trainer, init, openDevice, type ErrorCode, type FitEvent } from "forgeling";
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
    ['import { replaceBinding } from "forgeling"; replaceBinding();', /no exported member/],
  ]) {
    assert.match(check("wrong.ts", wrong, resolutions[0]), why);
  }
});
