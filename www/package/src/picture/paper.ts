import { resample, whole, type Plane } from "./raster.js";

// The paper is looked for on so many rows or columns, whichever are fewer.
const COARSE = 96;
// Strokes up to twice this share of the short side are taken for ink; what is wider is paper of another shade.
const REACH = 0.08;

/**
 * The brightness of the paper at each pixel of a page with dark ink: a gray closing (the least of the greatest values
 * nearby), which fills what is darker and thin and keeps gradients, shadows and other sheets, then smoothed. @internal
 */
export function paper(light: Plane): Plane {
  const scale = Math.max(1, Math.min(light.width, light.height) / COARSE);
  const side = (length: number) => Math.max(1, Math.round(length / scale));
  const coarse = resample(light, whole(light), side(light.width), side(light.height));
  const reach = Math.max(1, Math.round(Math.min(coarse.width, coarse.height) * REACH));
  const closed = extreme(extreme(coarse, reach, Math.max), reach, Math.min);
  return enlarge(blur(closed, Math.ceil(reach / 2)), light.width, light.height);
}

/** The mean of the `(2 * reach + 1)²` pixels around each, as far as there are such. @internal */
export function blur(plane: Plane, reach: number): Plane {
  const lines = (from: Plane) => rows(from, (line, out) => means(line, reach, out));
  return transposed(lines(transposed(lines(plane))));
}

function extreme(plane: Plane, reach: number, pick: (a: number, b: number) => number): Plane {
  const lines = (from: Plane) =>
    rows(from, (line, out) => {
      for (let place = 0; place < line.length; place += 1) {
        let found = line[place]!;
        const last = Math.min(place + reach, line.length - 1);
        for (let near = Math.max(0, place - reach); near <= last; near += 1) found = pick(found, line[near]!);
        out[place] = found;
      }
    });
  return transposed(lines(transposed(lines(plane))));
}

function rows({ width, height, values }: Plane, make: (line: Float32Array, out: Float32Array) => void): Plane {
  const made = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += width) {
    make(values.subarray(start, start + width), made.subarray(start, start + width));
  }
  return { width, height, values: made };
}

function means(line: Float32Array, reach: number, out: Float32Array): void {
  const sums = new Float64Array(line.length + 1);
  line.forEach((value, place) => (sums[place + 1] = sums[place]! + value));
  for (let place = 0; place < line.length; place += 1) {
    const [from, to] = [Math.max(0, place - reach), Math.min(place + reach + 1, line.length)];
    out[place] = (sums[to]! - sums[from]!) / (to - from);
  }
}

function transposed({ width, height, values }: Plane): Plane {
  const turned = new Float32Array(values.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) turned[x * height + y] = values[y * width + x]!;
  }
  return { width: height, height: width, values: turned };
}

/** Bilinear interpolation between the centres of the pixels. */
function enlarge(plane: Plane, width: number, height: number): Plane {
  const places = (from: number, to: number) =>
    Array.from({ length: to }, (_, index) => {
      const at = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1);
      const low = Math.floor(at);
      return { low, high: Math.min(low + 1, from - 1), part: at - low };
    });
  const columns = places(plane.width, width);
  const values = new Float32Array(width * height);
  places(plane.height, height).forEach((row, y) => {
    columns.forEach((column, x) => {
      const mix = (line: number) => {
        const [left, right] = [plane.values[line * plane.width + column.low]!, plane.values[line * plane.width + column.high]!];
        return left + column.part * (right - left);
      };
      const above = mix(row.low);
      values[y * width + x] = above + row.part * (mix(row.high) - above);
    });
  });
  return { width, height, values };
}
