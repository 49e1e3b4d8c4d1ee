// Chromium for tests and benches: the system's (or $CHROMIUM), never a download.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const candidates = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const quiet = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-sync",
  "--no-first-run",
  "--disable-component-update",
  "--disable-quic",
];

// WebGPU computed by the processor, so that it works on machines without a graphics card.
const software = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--enable-unsafe-swiftshader",
  "--ignore-gpu-blocklist",
];

/** Starts Chromium without a window; with `webgpu`, WebGPU runs in software. */
export function launch({ webgpu = false } = {}) {
  const executablePath = candidates.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("no Chromium found: install it, or name it in $CHROMIUM");
  return chromium.launch({ executablePath, args: webgpu ? [...quiet, ...software] : quiet });
}
