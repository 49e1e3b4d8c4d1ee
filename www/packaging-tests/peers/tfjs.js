// TensorFlow.js: layers, `optimizer.minimize` and script tags, as in its guides.
import { adapter } from "./adapter.js";
import { Batches, batch, labels, pixels, queries, shots, ways } from "./data.js";

const folder = new URL("../node_modules/@tensorflow/", import.meta.url).href;

function load(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = folder + path;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`cannot load ${path}`));
    document.head.append(script);
  });
}

export async function open(backend) {
  await load("tfjs/dist/tf.min.js");
  if (backend === "webgpu") await load("tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js");
  const tf = globalThis.tf;
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no backend ${backend} here`);
  await tf.ready();

  /** A step that takes the loss of new inputs down and reads it. */
  const trained = (inputs, loss) => {
    const optimizer = tf.train.adam(1e-3);
    const step = async () => {
      const values = inputs();
      const cost = optimizer.minimize(() => loss(...values), true);
      const [value] = await cost.data();
      tf.dispose([cost, ...values]);
      return value;
    };
    return { step, finish: () => {} };
  };

  return {
    name: `TensorFlow.js ${tf.version.tfjs} ${backend}`,
    device: backend === "cpu" ? "cpu (JavaScript)" : await adapter(backend),

    protonet(pool, filters) {
      const encoder = tf.sequential();
      for (let block = 0; block < 4; block++) {
        const inputShape = block === 0 ? { inputShape: [28, 28, 1] } : {};
        const kernelInitializer = tf.initializers.glorotNormal({ seed: block + 1 });
        encoder.add(tf.layers.conv2d({ filters, kernelSize: 3, padding: "same", kernelInitializer, ...inputShape }));
        encoder.add(tf.layers.batchNormalization());
        encoder.add(tf.layers.reLU());
        encoder.add(tf.layers.maxPooling2d({ poolSize: 2 }));
      }
      encoder.add(tf.layers.flatten());
      const batches = new Batches(pool);
      const truth = tf.tidy(() => tf.oneHot(tf.range(0, ways * queries, 1, "int32").div(queries).toInt(), ways));
      const inputs = () => [tf.tensor4d(batches.episode(), [ways * (shots + queries), 28, 28, 1])];
      return trained(inputs, (images) => {
        const features = encoder.apply(images, { training: true });
        const [support, query] = tf.split(features, [ways * shots, ways * queries]);
        const prototypes = support.reshape([ways, shots, -1]).mean(1);
        const distances = query.expandDims(1).sub(prototypes.expandDims(0)).square().sum(-1);
        return tf.losses.softmaxCrossEntropy(truth, distances.neg());
      });
    },

    mlp(pool) {
      const model = tf.sequential();
      model.add(tf.layers.dense({ units: 400, activation: "relu", inputShape: [pixels] }));
      model.add(tf.layers.dense({ units: 400, activation: "relu" }));
      model.add(tf.layers.dense({ units: labels }));
      const batches = new Batches(pool);
      const inputs = () => {
        const { images, truth } = batches.digits();
        return [tf.tensor2d(images, [batch, pixels]), tf.tidy(() => tf.oneHot(tf.tensor1d(truth, "int32"), labels))];
      };
      return trained(inputs, (images, truth) => {
        return tf.losses.softmaxCrossEntropy(truth, model.apply(images, { training: true }));
      });
    },
  };
}
