// A classifier of the package learns a visitor's own examples in Chromium, in the page and in a worker.
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
  await page.goto(`${server.origin}/blank.html`);
  await page.evaluate(async () => {
    const library = await import("/package/dist/index.js");
    await library.init();
    // Inverted, the characters are unlike those of the training.
    const glyphs = library.Dataset.glyphs({ seed: 5, split: "test", classes: 4, size: 16 });
    const inverted = (label, example) => glyphs.image(label, example).map((value) => 1 - value);
    Object.assign(window, { library, inverted });
  });
});
after(async () => {
  await browser?.close();
  await server?.close();
});

for (const choice of ["cpu", "gpu:0"]) {
  test(`adapters are trained on the visitor's examples while the page has its turns (${choice})`, async () => {
    const got = await page.evaluate(async (choice) => {
      const { openDevice, Dataset, ProtoNet } = library;
      const model = ProtoNet.create(await openDevice(choice), { filters: 8, size: 16 });
      for await (const _ of model.fit(Dataset.glyphs({ size: 16, classes: 40 }), { episodes: 40, queries: 5 }));
      const before = await model.save();
      const right = async (classifier) => {
        let right = 0;
        for (let i = 0; i < 80; i += 1) {
          const [best] = await classifier.classify(inverted(i % 4, 50 + i));
          right += best.label === `class ${i % 4}`;
        }
        return right / 80;
      };
      const taught = async (adaptation) => {
        const classifier = model.classifier(adaptation);
        for (let i = 0; i < 40; i += 1) await classifier.add(`class ${i % 4}`, inverted(i % 4, i));
        return classifier;
      };
      const prototypes = await taught("prototypes");
      const lora = await taught({ name: "lora", rank: 2, fineTune: { epochs: 40, learningRate: 0.01 } });
      let beats = 0;
      const heart = setInterval(() => (beats += 1), 1);
      const events = [];
      const summary = await lora.adapt({ report: (event) => events.push(event) });
      clearInterval(heart);
      const accuracies = [await right(prototypes), await right(lora)];
      const ending = new AbortController();
      const stopped = await lora.adapt({ signal: ending.signal, report: () => ending.abort() }).catch((error) => error.toJSON());
      const kept = await right(lora);
      const wrong = [{ name: "lora", rank: 0 }, { name: "head", epoch: 3 }].map((adaptation) => {
        try {
          return model.classifier(adaptation);
        } catch (error) {
          return error.toJSON();
        }
      });
      const after = await model.save();
      return { summary, events, accuracies, beats, stopped, kept, wrong, same: before.join() === after.join() };
    }, choice);
    const [prototypes, lora] = got.accuracies;
    // Guessing gives a quarter.
    assert.ok(lora >= 0.6 && lora >= prototypes - 0.05, `${prototypes} by prototypes, ${lora} by adapters`);
    assert.equal(got.summary.name, "lora");
    assert.ok(got.summary.fineTune.epochs > 0 && got.summary.fineTune.heldOutAccuracy > 0.3, JSON.stringify(got.summary));
    assert.ok(got.events.length >= got.summary.fineTune.epochs);
    assert.deepEqual(new Set(got.events.map(({ searching }) => searching)), new Set([true, false]));
    assert.ok(got.events.filter(({ searching }) => searching).every(({ heldOutLoss }) => heldOutLoss > 0));
    assert.ok(got.beats >= 5, `${got.beats} beats in ${got.events.length} epochs`);
    assert.equal(got.stopped.code, "cancelled");
    assert.equal(got.kept, lora, "what was adapted answers still");
    assert.deepEqual(got.wrong.map(({ code }) => code), ["invalid_argument", "invalid_argument"]);
    assert.ok(got.same, "the model itself was changed");
  });
}

test("whatever a page has a picture in goes to the features of a classifier's file", async () => {
  const got = await page.evaluate(async () => {
    const { ProtoNet, Trainer, imageToPixels, openDevice } = library;
    const device = await openDevice("cpu");
    const model = { kind: "conv4", size: 16, channels: 3, filters: 4 };
    const trainer = await Trainer.create(device, { model, classes: ["one", "other"] });
    // As `forgeling train` writes it, which knows how its pictures were read.
    const plain = await trainer.save();
    const length = Number(new DataView(plain.buffer, plain.byteOffset).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(plain.subarray(8, 8 + length)));
    const own = JSON.parse(header.__metadata__.forgeling);
    own.pictures = { kind: "pictures", fit: "crop" };
    header.__metadata__.forgeling = JSON.stringify(own);
    const text = new TextEncoder().encode(JSON.stringify(header).padEnd(Math.ceil(length / 8) * 8 + 800));
    const bytes = new Uint8Array(8 + text.length + plain.length - 8 - length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(text, 8);
    bytes.set(plain.subarray(8 + length), 8 + text.length);
    const encoder = await ProtoNet.load(device, bytes);

    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [60, 40];
    const context = canvas.getContext("2d");
    const paint = (colour) => {
      context.fillStyle = "white";
      context.fillRect(0, 0, 60, 40);
      context.fillStyle = colour;
      context.fillRect(15, 5, 20, 30);
    };
    const classifier = encoder.classifier({ name: "lda", mirrored: true });
    for (const colour of ["red", "blue"]) {
      paint(colour);
      await classifier.add(colour, canvas);
      await classifier.add(colour, imageToPixels(canvas, 16, 3));
    }
    paint("red");
    const image = new Image();
    image.src = canvas.toDataURL();
    await image.decode();
    const frame = new VideoFrame(canvas, { timestamp: 0 });
    const sources = {
      image,
      frame,
      bitmap: await createImageBitmap(canvas),
      pixels: context.getImageData(0, 0, 60, 40),
    };
    const expected = await classifier.classify(canvas);
    const found = {};
    for (const [name, source] of Object.entries(sources)) found[name] = await classifier.classify(source);
    const refused = async (source) => (await classifier.classify(source).catch((error) => error.toJSON())).code;
    const untold = await ProtoNet.load(device, plain);
    const errors = [
      await refused(new Image()),
      await refused(document.createElement("video")),
      (await untold.classifier().add("a", canvas).catch((error) => error.toJSON())).code,
    ];
    frame.close();
    return { expected, found, errors, pictures: [encoder.config.pictures, untold.config.pictures] };
  });
  assert.equal(got.expected[0].label, "red");
  for (const [name, answer] of Object.entries(got.found)) {
    assert.equal(answer[0].label, "red", name);
    // A frame may be kept in other colours than it was painted in.
    assert.ok(Math.abs(answer[0].probability - got.expected[0].probability) < 0.05, name);
  }
  assert.deepEqual(got.errors, ["invalid_argument", "invalid_argument", "invalid_argument"]);
  assert.deepEqual(got.pictures, [{ kind: "pictures", fit: "crop" }, null]);
});

test("a worker adapts too", async () => {
  const got = await page.evaluate(async () => {
    const { startWorker } = await import("/package/dist/worker.js");
    const worker = await startWorker();
    await worker.openDevice("cpu");
    await worker.createModel({ method: "anil", filters: 8, size: 16 });
    await worker.resetClassifier("head");
    for (let i = 0; i < 20; i += 1) await worker.addExample(`class ${i % 4}`, inverted(i % 4, i));
    const events = [];
    const summary = await worker.adapt((event) => events.push(event));
    const answers = await worker.classify(inverted(0, 60));
    await worker.resetClassifier();
    for (let i = 0; i < 4; i += 1) await worker.addExample(`class ${i % 4}`, inverted(i % 4, i));
    const method = await worker.adapt();
    worker.terminate();
    return { summary, events: events.length, answers, method };
  });
  assert.equal(got.summary.name, "head");
  assert.ok(got.events > 0);
  assert.equal(got.answers.length, 4);
  assert.ok(Math.abs(got.answers.reduce((sum, { probability }) => sum + probability, 0) - 1) < 1e-6);
  assert.deepEqual([got.method.name, got.method.fineTune], ["method", null]);
});
