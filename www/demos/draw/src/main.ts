import {
  ForgelingError,
  startWorker,
  type DataSource,
  type DeviceInfo,
  type FitEvent,
  type ForgelingWorker,
  type LayerDescription,
  type ModelInfo,
  type Prediction,
} from "forgeling/worker";
import { LineChart } from "./chart.js";
import { byId, make, percent } from "./dom.js";
import { Pad } from "./pad.js";
import { inPlainWords } from "./messages.js";
import { readSettings } from "./settings.js";
import { drawSheet } from "./sheet.js";
import { Symbols, type OwnSymbol } from "./symbols.js";

const SIDE = 28;
const WAYS = 5;
const SHOTS = 5;
const EVALUATION_EPISODES = 40;
const settings = readSettings(location.search);
const glyphs = (split: "train" | "test", classes: number): DataSource => ({
  glyphs: { seed: settings.seed, split, classes, size: SIDE },
});

const page = {
  train: byId<HTMLButtonElement>("train"),
  stop: byId<HTMLButtonElement>("stop"),
  save: byId<HTMLButtonElement>("save"),
  load: byId<HTMLInputElement>("load"),
  progress: byId<HTMLProgressElement>("progress"),
  progressText: byId("progress-text"),
  alert: byId("alert"),
  announce: byId("announce"),
  answer: byId("answer"),
  bars: byId("bars"),
};
const loss = new LineChart(byId("loss-chart"), {
  title: "Loss",
  top: 1.8,
  chance: Math.log(WAYS),
  format: (value) => (value === 0 ? "0" : value.toFixed(2)),
});
const accuracy = new LineChart(byId("accuracy-chart"), {
  title: "Right answers",
  top: 1,
  chance: 1 / WAYS,
  format: percent,
});

let worker: ForgelingWorker | undefined;
type Phase = "starting" | "ready" | "training" | "trained" | "broken";
let phase: Phase = "starting";

function enter(next: Phase): void {
  phase = next;
  page.train.disabled = next !== "ready" && next !== "trained";
  page.train.textContent = next === "trained" ? "Train anew" : "Train";
  page.stop.disabled = next !== "training";
  page.save.disabled = next !== "trained";
  page.load.disabled = next !== "ready" && next !== "trained";
  showHint();
}

function announce(text: string): void {
  page.announce.textContent = text;
}

/** Shows what went wrong. */
function complain(cause: unknown): void {
  showAlert(inPlainWords(cause));
}

function showAlert(text: string): void {
  page.alert.textContent = text;
  page.alert.hidden = false;
}

/** Runs something that may fail, and tells the visitor when it does. */
async function attempt(body: () => Promise<void>, after: () => Phase): Promise<void> {
  try {
    await body();
  } catch (cause) {
    complain(cause);
    // A panic leaves the wasm in a state nobody knows; only a reload helps.
    const lost = cause instanceof ForgelingError && cause.code === "internal";
    enter(lost ? "broken" : after());
    if (phase === "broken") page.progressText.textContent = "Not possible at the moment; see above.";
    page.alert.scrollIntoView({ block: "nearest" });
  }
}

/** The same for something the visitor asked for: an earlier complaint is settled then. */
function act(body: () => Promise<void>, after: () => Phase): void {
  page.alert.hidden = true;
  void attempt(body, after);
}

// 1. Training

async function start(): Promise<void> {
  worker = await startWorker();
  const columns = matchMedia("(max-width: 34rem)").matches ? 10 : 24;
  const characters = await worker.sample(glyphs("train", columns), columns, 4);
  drawSheet(byId<HTMLCanvasElement>("sheet"), characters);
  showDevice(await worker.openDevice(settings.device));
  const config = { filters: settings.filters, size: SIDE, seed: settings.seed };
  await worker.warmUp(config, ({ done, total }) => {
    page.progressText.textContent = `Compiling for this GPU: ${done} of ${total}…`;
  });
  showModel(await worker.createModel(config));
  page.progressText.textContent = `${settings.episodes} episodes; you can stop whenever you like.`;
  enter("ready");
}

async function train(): Promise<void> {
  if (!worker) return;
  enter("training");
  loss.reset(settings.episodes);
  accuracy.reset(settings.episodes);
  page.progress.value = 0;
  byId("evaluation").textContent = "measured after training";
  page.progressText.textContent = "The first steps can take a moment…";
  announce("Training has begun.");
  showModel(await worker.createModel({ filters: settings.filters, size: SIDE, seed: settings.seed }));
  const summary = await worker.train(
    glyphs("train", 1000),
    { ways: WAYS, shots: SHOTS, episodes: settings.episodes, seed: settings.seed },
    showStep,
  );
  const episodes = summary.last?.episode ?? 0;
  page.progressText.textContent =
    `${episodes} episodes in ${Math.round(summary.seconds)} s` + (summary.stopped ? ", stopped by you." : ".");
  page.stop.disabled = true;
  await trained("Training is done. Show it your symbols.");
  const result = await worker.evaluate(glyphs("test", 200), {
    ways: WAYS,
    shots: SHOTS,
    episodes: EVALUATION_EPISODES,
    seed: settings.seed,
  });
  byId("evaluation").textContent =
    `${(result.accuracy * 100).toFixed(1)} ± ${(result.ci95 * 100).toFixed(1)} % right ` +
    `(${WAYS} characters, ${SHOTS} examples each, ${result.episodes} episodes)`;
}

function showStep(event: FitEvent): void {
  loss.add(event.episode, event.loss);
  accuracy.add(event.episode, event.accuracy);
  page.progress.value = event.episode / settings.episodes;
  byId("speed").textContent = `${event.episodesPerSecond.toFixed(1)} episodes per second`;
  const left = (settings.episodes - event.episode) / event.episodesPerSecond;
  page.progressText.textContent =
    `Episode ${event.episode} of ${settings.episodes}, ` +
    (left > 90 ? `about ${Math.round(left / 60)} minutes left` : `about ${Math.ceil(left)} s left`);
}

function showDevice(device: DeviceInfo): void {
  byId("device").textContent = `${device.name} (${device.kind.replaceAll("_", " ")}, ${device.backend})`;
  byId("reason").textContent = device.reason;
}

function showModel({ config, trainedValues }: ModelInfo): void {
  const weighted = (layer: LayerDescription) => typeof layer === "object" && ("conv2d" in layer || "linear" in layer);
  const layers = config.network.layers.filter(weighted).length;
  byId("network").textContent =
    `${layers} ${layers === 1 ? "layer" : "layers"}, ${trainedValues.toLocaleString("en")} trained values`;
}

/** The weights are new: the classifier has to see all examples again. */
async function trained(message: string): Promise<void> {
  enter("trained");
  announce(message);
  await worker?.resetClassifier();
  known.clear();
  for (const symbol of symbols.list) await teach(symbol);
  await classify();
}

// 2. The visitor's symbols

const known = new Set<string>();
const symbols = new Symbols(byId("add-class"), SIDE, {
  examples: (symbol, removed) => {
    if (removed) symbol.examples = [];
    if (phase !== "trained") return;
    void attempt(async () => {
      await teach(symbol);
      await classify();
    }, () => phase);
  },
  renamed: () => showPredictions(latest),
  announce,
});

async function teach(symbol: OwnSymbol): Promise<void> {
  if (known.delete(symbol.id)) await worker?.removeLabel(symbol.id);
  if (symbol.examples.length === 0) return;
  known.add(symbol.id);
  for (const ink of symbol.examples) await worker?.addExample(symbol.id, ink);
}

// 3. Trying it

let latest: Prediction[] = [];
let asking = false;
let askAgain = false;
const testPad = new Pad("Pad to draw what the network shall recognise", {
  changed: () => void attempt(classify, () => phase),
});

/** Asks about the drawing on the test pad; while one question is under way, only the newest waits. */
async function classify(): Promise<void> {
  askAgain = asking;
  if (asking) return;
  asking = true;
  try {
    do {
      askAgain = false;
      const possible = phase === "trained" && !testPad.empty && known.size > 0;
      latest = possible && worker ? await worker.classify(testPad.ink(SIDE)) : [];
    } while (askAgain);
  } finally {
    asking = false;
  }
  showPredictions(latest);
}

function showPredictions(predictions: Prediction[]): void {
  const rows = predictions.map(({ label, probability }) => {
    const fill = make("div", { className: "fill" });
    fill.style.width = `${probability * 100}%`;
    return make(
      "li",
      {},
      make("span", { className: "name", textContent: symbols.nameOf(label) }),
      make("div", { className: "track" }, fill),
      make("span", { className: "percent", textContent: percent(probability) }),
    );
  });
  page.bars.replaceChildren(...rows);
  showHint();
}

function showHint(): void {
  const [best] = latest;
  page.answer.classList.toggle("waiting", !best);
  const taught = symbols.list.filter(({ examples }) => examples.length > 0).length;
  const text =
    phase !== "trained" ? (phase === "training" ? "Still training; the answer comes after that." : "Train the network first.")
    : taught < 2 ? "Add examples of at least two symbols above."
    : best ? `This looks like ${symbols.nameOf(best.label)}.`
    : "Draw here.";
  // Written only when it changes, so that screen readers are not told the same thing again.
  if (page.answer.textContent !== text) page.answer.textContent = text;
}

// Saving and loading

async function save(): Promise<void> {
  if (!worker) return;
  const bytes = await worker.saveModel();
  const address = URL.createObjectURL(new Blob([bytes as BlobPart]));
  const link = make("a", { href: address, download: "forgeling-symbols.safetensors" });
  link.click();
  URL.revokeObjectURL(address);
  announce(`Saved ${(bytes.length / 1024).toFixed(0)} kB.`);
}

async function load(): Promise<void> {
  const [file] = page.load.files ?? [];
  page.load.value = "";
  if (!worker || !file) return;
  const model = await worker.loadModel(new Uint8Array(await file.arrayBuffer()));
  const { size, channels, network } = model.config;
  if (size !== SIDE || channels !== 1) {
    showModel(await worker.createModel({ filters: settings.filters, size: SIDE, seed: settings.seed }));
    enter("ready");
    throw new ForgelingError("bad_data", `the model takes inputs of ${network.input.join(" × ")}`, {
      expected: `${SIDE} × ${SIDE}, one channel`,
    });
  }
  showModel(model);
  page.progressText.textContent = `Loaded from ${file.name}.`;
  await trained(`${file.name} is loaded. Show it your symbols.`);
}

page.train.onclick = () => act(train, () => "ready");
page.stop.onclick = () => {
  worker?.stop();
  page.stop.disabled = true;
};
page.save.onclick = () => act(save, () => phase);
page.load.onchange = () => act(load, () => phase);
byId("clear-test").onclick = () => testPad.clear();
byId("add-class").onclick = () => symbols.add(undefined, true);
byId("test-pad").append(testPad.element);
for (const name of ["Circle", "Cross", "Zigzag"]) symbols.add(name, false);
if (settings.complaints.length > 0) showAlert(settings.complaints.join(" "));
await attempt(start, () => "broken");
