// forgeling, as its README has it.
import { Dataset, Mlp, ProtoNet, imageToPixels, init, openDevice } from "../../package/dist/index.js";
import { adapter } from "./adapter.js";
import { Batches, classes, examples, labels, pixels, queries, shots, ways } from "./data.js";

/** All images as `[classes, examples, pixels]`. */
export async function draw() {
  await init();
  const glyphs = Dataset.glyphs({ classes, size: 28 });
  const images = [];
  for (let label = 0; label < classes; label++) {
    for (let example = 0; example < examples; example++) images.push(...glyphs.image(label, example));
  }
  return Float32Array.from(images);
}

export async function open(backend) {
  await init();
  const device = await openDevice(backend);
  return {
    name: backend === "cpu" ? "forgeling wasm" : "forgeling WebGPU",
    device: backend === "cpu" ? "cpu (wasm)" : await adapter("webgpu"),

    protonet(pool, filters) {
      const names = Array.from({ length: classes * examples }, (_, i) => `class ${Math.floor(i / examples)}`);
      const data = Dataset.fromImages({ names, height: 28, width: 28, pixels: pool });
      const model = ProtoNet.create(device, { filters, size: 28 });
      const steps = model.fit(data, { ways, shots, queries, episodes: 1e6 });
      return {
        step: async () => (await steps.next()).value.loss,
        // Reading the weights waits for the optimizer's part of the last step.
        finish: () => model.save(),
      };
    },

    mlp(pool) {
      const batches = new Batches(pool);
      const mlp = Mlp.create(device, { inputs: pixels, hidden: [400, 400], classes: labels });
      return {
        step: () => {
          const { images, truth } = batches.digits();
          return mlp.trainStep(images, truth, 1e-3);
        },
        // With the loss comes the optimizer's word on whether it moved the weights, so that nothing is left to wait for.
        finish: () => {},
      };
    },

    // Untrained: what the weights are makes it no faster.
    async photograph() {
      const classifier = ProtoNet.create(device, { model: "efficientnet_lite0", size: 224, channels: 3 }).classifier();
      const canvas = new OffscreenCanvas(320, 240);
      const context = canvas.getContext("2d");
      const paint = (colour) => {
        context.fillStyle = colour;
        context.fillRect(40, 40, 200, 160);
        return imageToPixels(canvas, 224, 3);
      };
      await classifier.add("red", paint("red"));
      await classifier.add("blue", paint("blue"));
      return {
        step: async () => (await classifier.classify(paint("purple")))[0].probability,
        finish: () => {},
      };
    },
  };
}
