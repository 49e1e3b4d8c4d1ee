// The images that every implementation learns from: characters of forgeling's own, drawn once.

export const ways = 5;
export const shots = 5;
export const queries = 15;
export const pixels = 784;
export const batch = 128;
export const labels = 10;

/** What is drawn: enough classes for episodes and for a classifier, enough examples of each. */
export const classes = 20;
export const examples = 20;

/** A small seeded generator (mulberry32): every implementation draws the same batches. */
function generator(seed) {
  let state = seed;
  return (count) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * count);
  };
}

/** Batches from `pool`, all images as `[classes, examples, pixels]`. */
export class Batches {
  #pool;
  #below = generator(1);

  constructor(pool) {
    this.#pool = pool;
  }

  #image(label, example) {
    const start = (label * examples + example) * pixels;
    return this.#pool.subarray(start, start + pixels);
  }

  #distinct(count, below) {
    const all = Array.from({ length: below }, (_, i) => i);
    for (let i = 0; i < count; i++) {
      const j = i + this.#below(below - i);
      [all[i], all[j]] = [all[j], all[i]];
    }
    return all.slice(0, count);
  }

  /** One episode: every class's shots, then every class's queries. */
  episode() {
    const images = new Float32Array(ways * (shots + queries) * pixels);
    this.#distinct(ways, classes).forEach((label, way) => {
      this.#distinct(shots + queries, examples).forEach((example, i) => {
        const place = i < shots ? way * shots + i : ways * shots + way * queries + i - shots;
        images.set(this.#image(label, example), place * pixels);
      });
    });
    return images;
  }

  /** One batch of the first classes with its labels. */
  digits() {
    const images = new Float32Array(batch * pixels);
    const truth = new Int32Array(batch);
    for (let i = 0; i < batch; i++) {
      truth[i] = this.#below(labels);
      images.set(this.#image(truth[i], this.#below(examples)), i * pixels);
    }
    return { images, truth };
  }
}
