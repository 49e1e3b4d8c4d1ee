const f32 = Math.fround;
// Marks that cover less than this part of the largest one are specks.
const SPECK = f32(0.01);
// Marks that cover less than this part of the picture are specks too.
const SMALLEST = f32(5e-5);
// Marks whose ink is fainter than this part of the main one's are none.
const FAINTEST = 0.25;
// How much more ink a higher threshold must show to be better than a lower one.
const CLEARLY = 1.6;
// Part of the picture below which ink cannot be told from a speck.
const LEAST = f32(2e-4);

/** Pixels of a mask that touch, also at corners. @internal */
export interface Part {
  /** Indices of its pixels. */
  pixels: number[];
  /** The first column and row, and those behind the last. */
  bounds: [number, number, number, number];
  /** Whether a pixel lies at the border of the picture. */
  atBorder: boolean;
}

/** All parts of the pixels that `inside` holds for. @internal */
export function parts(values: Float32Array, width: number, inside: (value: number) => boolean): Part[] {
  const height = values.length / width;
  const left = Uint8Array.from(values, (value) => Number(inside(value)));
  const found: Part[] = [];
  for (let start = 0; start < left.length; start += 1) {
    if (!left[start]) continue;
    left[start] = 0;
    const pixels = [start];
    const bounds: Part["bounds"] = [width, height, 0, 0];
    for (let next = 0; next < pixels.length; next += 1) {
      const [x, y] = [pixels[next]! % width, Math.floor(pixels[next]! / width)];
      bounds[0] = Math.min(bounds[0], x);
      bounds[1] = Math.min(bounds[1], y);
      bounds[2] = Math.max(bounds[2], x + 1);
      bounds[3] = Math.max(bounds[3], y + 1);
      for (let row = Math.max(0, y - 1); row < Math.min(y + 2, height); row += 1) {
        for (let column = Math.max(0, x - 1); column < Math.min(x + 2, width); column += 1) {
          const near = row * width + column;
          if (!left[near]) continue;
          left[near] = 0;
          pixels.push(near);
        }
      }
    }
    const atBorder = bounds[0] === 0 || bounds[1] === 0 || bounds[2] === width || bounds[3] === height;
    found.push({ pixels, bounds, atBorder });
  }
  return found;
}

/**
 * The marks on a page: what is darker than the paper, holds together and does not come in from the border, as desks and
 * ruled lines do. Lines that cross the ink are left behind by looking at what is darker only.
 *
 * @param dark the part of the paper's light that is missing at each pixel.
 * @param darker how much light that is.
 * @param least the part from which there may be ink.
 * @internal
 */
export function marks(dark: Float32Array, darker: Float32Array, width: number, least: number): Part[] {
  const mass = (part: Part) => part.pixels.reduce((sum, index) => sum + darker[index]!, 0);
  const depth = (part: Part) => mass(part) / part.pixels.length;
  const clear = (kept: Part[]) => {
    const masses = kept.map(mass);
    const main = kept[masses.lastIndexOf(masses.reduce((a, b) => Math.max(a, b), 0))];
    const faintest = main ? FAINTEST * depth(main) : 0;
    return kept.filter((part) => depth(part) >= faintest);
  };
  const area = dark.length;
  const most = dark.reduce((a, b) => Math.max(a, b), 0);
  let found: { mass: number; kept: Part[] } | undefined;
  let fallback: Part[] = [];
  for (let threshold = f32(least); threshold < most; threshold = f32(threshold * 1.5)) {
    const inside = (value: number) => value > threshold;
    // No threshold from here on leaves more than this.
    const left = dark.reduce((sum, value, index) => (inside(value) ? sum + darker[index]! : sum), 0);
    if (found && left <= CLEARLY * found.mass) break;
    const all = parts(dark, width, inside);
    if (fallback.length === 0) fallback = all;
    const kept = clear(withoutSpecks(all.filter((part) => !part.atBorder), area));
    const sum = kept.reduce((total, part) => total + mass(part), 0);
    // The fainter, the more of the ink is seen, unless most of it hangs together with the border.
    if (!found || sum > CLEARLY * found.mass) found = { mass: sum, kept };
  }
  const inked = found?.kept.reduce((sum, part) => sum + part.pixels.length, 0) ?? 0;
  if (found && inked >= f32(LEAST * area)) return found.kept;
  // Ink that runs off the page is ink all the same.
  return clear(withoutSpecks(fallback, area));
}

function withoutSpecks(all: Part[], area: number): Part[] {
  const largest = all.reduce((most, part) => Math.max(most, part.pixels.length), 0);
  const least = Math.max(f32(SPECK * largest), f32(SMALLEST * area));
  return all.filter((part) => part.pixels.length >= least);
}
