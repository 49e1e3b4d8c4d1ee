// Checks that the generated parts are there, and removes the `.gitignore` that wasm-pack writes beside
// its output: npm would obey it and publish the package without its wasm.
import { rmSync, statSync } from "node:fs";

const here = (path) => new URL(path, import.meta.url);
const generated = [
  ["dist/index.js", "run `npm run build`"],
  ["dist/worker-entry.js", "run `npm run build`"],
  ["wasm/forgeling.js", "build the wasm first (`cargo xtask web`)"],
  ["wasm/forgeling_bg.wasm", "build the wasm first (`cargo xtask web`)"],
];
for (const [path, remedy] of generated) {
  if (!statSync(here(path), { throwIfNoEntry: false })?.size) {
    console.error(`forgeling: ${path} is missing or empty: ${remedy}`);
    process.exit(1);
  }
}
rmSync(here("wasm/.gitignore"), { force: true });
