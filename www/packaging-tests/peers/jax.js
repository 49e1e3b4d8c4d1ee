// jax-js: pure functions under `jit` and `valueAndGrad`, as in its README and its example on MNIST. Its
// optimizers are in @jax-js/optax, which npm did not have in November 2026, so Adam is written out.
// Running statistics are left out, which spares it a little.
import {
  blockUntilReady,
  defaultDevice,
  init,
  jit,
  lax,
  nn,
  numpy as np,
  random,
  tree,
  valueAndGrad,
} from "../node_modules/@jax-js/jax/dist/index.js";
import { adapter } from "./adapter.js";
import { Batches, batch, labels, pixels, queries, shots, ways } from "./data.js";

const rate = 1e-3;
const [beta1, beta2, epsilon] = [0.9, 0.999, 1e-8];

/** One step of Adam as a pure function of everything it changes. */
function adam(loss) {
  return jit((params, state, ...inputs) => {
    const [value, gradients] = valueAndGrad(loss)(tree.ref(params), ...inputs);
    const count = state.count.add(1);
    const blend = (beta, old, now) => old.mul(beta).add(now.mul(1 - beta));
    const mean = tree.map((old, g) => blend(beta1, old, g), state.mean, tree.ref(gradients));
    const square = tree.map((old, g) => blend(beta2, old, np.square(g)), state.square, gradients);
    const correction = (beta) => np.exp(count.ref.mul(Math.log(beta))).mul(-1).add(1);
    const [first, second] = [correction(beta1), correction(beta2)];
    const change = (p, m, v) => {
      const step = m.div(first.ref).div(np.sqrt(v.div(second.ref)).add(epsilon));
      return p.sub(step.mul(rate));
    };
    const next = tree.map(change, params, tree.ref(mean), tree.ref(square));
    first.dispose();
    second.dispose();
    return [value, next, { count, mean, square }];
  });
}

function trained(loss, initial, inputs) {
  const zeros = () => tree.map((p) => np.zerosLike(p), tree.ref(initial));
  const update = adam(loss);
  let params = initial;
  let state = { count: np.array(0), mean: zeros(), square: zeros() };
  let value;
  return {
    step: async () => {
      [value, params, state] = update(params, state, ...inputs());
      return (await value.data())[0];
    },
    finish: () => blockUntilReady(params),
  };
}

const crossEntropy = (logits, truth) => {
  const [count] = truth.shape;
  return nn.logSoftmax(logits).mul(truth).sum().mul(-1 / count);
};

/** A layer's weights, uniform as in the example. */
function uniform(key, inputs, shape) {
  const bound = 1 / Math.sqrt(inputs);
  return random.uniform(key, shape, { minval: -bound, maxval: bound });
}

export async function open(backend) {
  const available = await init(backend);
  if (!available.includes(backend)) throw new Error(`jax-js has no device ${backend} here`);
  defaultDevice(backend);
  const { version } = await (await fetch(new URL("../node_modules/@jax-js/jax/package.json", import.meta.url))).json();
  const threads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const wasm = `wasm, ${threads} thread${threads === 1 ? "" : "s"}`;

  return {
    name: `jax-js ${version} ${backend === "wasm" ? wasm : backend}`,
    device: backend === "wasm" ? "cpu (wasm)" : await adapter(backend),

    protonet(pool, filters) {
      const keys = [...random.split(random.key(0), 4)];
      const params = keys.map((key, i) => {
        const inputs = i === 0 ? 1 : filters;
        return {
          weight: uniform(key, 9 * inputs, [filters, inputs, 3, 3]),
          bias: np.zeros([filters, 1, 1]),
          gamma: np.ones([filters, 1, 1]),
          beta: np.zeros([filters, 1, 1]),
        };
      });
      const block = (x, { weight, bias, gamma, beta }) => {
        const convolved = lax.conv(x, weight, [1, 1], "SAME").add(bias);
        const normalised = nn.standardize(convolved, [0, 2, 3]).mul(gamma).add(beta);
        return lax.reduceWindow(nn.relu(normalised), np.max, [2, 2], [2, 2]);
      };
      const loss = (params, images, truth) => {
        const features = params.reduce(block, images).reshape([ways * (shots + queries), -1]);
        const support = features.ref.slice([0, ways * shots]);
        const query = features.slice([ways * shots, ways * (shots + queries)]);
        const prototypes = support.reshape([ways, shots, -1]).mean(1);
        const difference = query.reshape([ways * queries, 1, -1]).sub(prototypes.reshape([1, ways, -1]));
        return crossEntropy(np.square(difference).sum(-1).mul(-1), truth);
      };
      const batches = new Batches(pool);
      const classes = Int32Array.from({ length: ways * queries }, (_, i) => Math.floor(i / queries));
      const truth = nn.oneHot(np.array(classes), ways);
      const shape = [ways * (shots + queries), 1, 28, 28];
      return trained(loss, params, () => [np.array(batches.episode(), { shape }), truth.ref]);
    },

    mlp(pool) {
      const keys = [...random.split(random.key(0), 3)];
      const sizes = [pixels, 400, 400, labels];
      const params = keys.map((key, i) => ({
        weight: uniform(key, sizes[i], [sizes[i], sizes[i + 1]]),
        bias: np.zeros([sizes[i + 1]]),
      }));
      const loss = (params, images, truth) => {
        const layer = (x, { weight, bias }, i) => {
          const out = np.dot(x, weight).add(bias);
          return i < 2 ? nn.relu(out) : out;
        };
        return crossEntropy(params.reduce(layer, images), truth);
      };
      const batches = new Batches(pool);
      return trained(loss, params, () => {
        const { images, truth } = batches.digits();
        return [np.array(images, { shape: [batch, pixels] }), nn.oneHot(np.array(truth), labels)];
      });
    },
  };
}
