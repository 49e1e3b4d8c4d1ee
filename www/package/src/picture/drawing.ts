import { marks, parts, type Part } from "./marks.js";
import { blur, paper } from "./paper.js";
import { isSeeThrough, luma, opacity, plane, resample, type Area, type PixelSource, type Plane } from "./raster.js";

const f32 = Math.fround;
// How far from white the paper of a clean scan may be.
const WHITE = f32(1 - f32(10 / 255));
// The part of a clean scan, and of its border, that is white at least.
const CLEAN = { all: 0.5, border: 0.9 };
// What is fainter on a clean scan is no ink: compressed images are never quite white.
const FAINT = f32(0.12);
// Ink is this many times the paper's noise at least.
const ABOVE_NOISE = 5;
// Ink takes this part of the light at least.
const WEAKEST = 0.06;
// The part of the full ink below which paper begins, and above which ink is full.
const RAMP = { low: 0.2, high: 0.75 };
// A drawing smaller than this part of the picture's longer side is not blown up further, so that a dot stays a dot.
const SMALLEST = 0.15;
// The part of a result's pixels whose mean counts as its full ink.
const FULL = f32(0.02);
// Ink is strengthened so many times at most.
const STRONGEST = 4;

/** Ink on paper. @internal */
export interface Ink {
  /** How much ink there is at each pixel, 0 to 1. */
  plane: Plane;
  /** Where it is; `undefined` on an empty page. */
  bounds: Area | undefined;
  /** Whether the page is white and even as a scan's, and `plane` just what the picture's pixels are. */
  clean: boolean;
  /** How much darker ink is than paper, as the mean of squares. */
  contrast: number;
}

/**
 * The ink of a picture: its opacity where that is less than half somewhere, otherwise what differs from the paper, dark
 * or light, whichever is on a clean page or the stronger of the two. @internal
 */
export function inkOf(pixels: PixelSource): Ink {
  if (isSeeThrough(pixels)) return opaqueInk(pixels);
  const dark = inkOnPaper(pixels, false);
  if (dark.clean) return dark;
  const light = inkOnPaper(pixels, true);
  return light.clean || light.contrast > dark.contrast ? light : dark;
}

/** What is opaque. @internal */
export function opaqueInk(pixels: PixelSource): Ink {
  return clean(opacity(pixels));
}

/** Ink that is darker or lighter than the paper, which shows where the picture is transparent. @internal */
export function inkOnPaper(pixels: PixelSource, lightInk: boolean): Ink {
  // In a drawing without ground, that is paper. A photograph's few soft pixels are on white, whatever its ink.
  const ground = lightInk && isSeeThrough(pixels) ? 0 : 255;
  // From here on ink is dark.
  const light = plane(pixels, (index) => {
    const value = f32(luma(pixels, index, ground) / 255);
    return lightInk ? 1 - value : value;
  });
  if (!isClean(light)) return levelled(light);
  return clean({ ...light, values: light.values.map((value) => 1 - value) });
}

function isClean({ width, height, values }: Plane): boolean {
  const counts = { white: 0, whiteBorder: 0, border: 0 };
  values.forEach((value, index) => {
    const [x, y] = [index % width, Math.floor(index / width)];
    const white = Number(value >= WHITE);
    counts.white += white;
    if (x > 0 && y > 0 && x + 1 < width && y + 1 < height) return;
    counts.border += 1;
    counts.whiteBorder += white;
  });
  return counts.white / values.length >= CLEAN.all && counts.whiteBorder / counts.border >= CLEAN.border;
}

function clean(ink: Plane): Ink {
  const inked = ink.values.filter((value) => value > FAINT);
  const found = parts(ink.values, ink.width, (value) => value > FAINT);
  return { plane: ink, bounds: boundsOf(found), clean: true, contrast: meanOfSquares(inked) };
}

/** The ink of a page that is unevenly lit, gray or noisy. */
function levelled(light: Plane): Ink {
  const { width, height } = light;
  const smooth = Math.min(width, height) < 64 ? light : blur(light, 1);
  const ground = paper(smooth).values;
  const dark = smooth.values.map((value, i) => 1 - f32(value / Math.max(ground[i]!, 0.02)));
  // Most of a page is paper: what is usual there is none of the ink, and how it varies is noise.
  const usual = quantile(dark, 0.5);
  dark.forEach((value, i) => (dark[i] = value - usual));
  const noise = 1.4826 * quantile(dark.map(Math.abs), 0.5);
  const least = Math.max(ABOVE_NOISE * noise, WEAKEST);
  // On a dark desk a little is much of the light.
  const darker = dark.map((value, i) => value * ground[i]!);
  const found = marks(dark, darker, width, least);
  const inked = found.flatMap((part) => part.pixels);
  const full = Math.max(quantile(Float32Array.from(inked, (index) => dark[index]!), 0.8), least);
  // The strokes with their soft edges.
  const near = grown(inked, width, height, 2);
  const [low, high] = [RAMP.low * full, RAMP.high * full];
  const values = dark.map((value, i) => (near[i] ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0));
  const contrast = meanOfSquares(Float32Array.from(inked, (index) => darker[index]!));
  return { plane: { width, height, values }, bounds: boundsOf(found), clean: false, contrast };
}

/** A mask of these pixels with so many more on every side. */
function grown(pixels: number[], width: number, height: number, by: number): Uint8Array {
  const mask = new Uint8Array(width * height);
  for (const index of pixels) {
    const [x, y] = [index % width, Math.floor(index / width)];
    for (let row = Math.max(0, y - by); row < Math.min(y + by + 1, height); row += 1) {
      mask.fill(1, row * width + Math.max(0, x - by), row * width + Math.min(x + by + 1, width));
    }
  }
  return mask;
}

function boundsOf(found: Part[]): Area | undefined {
  if (found.length === 0) return undefined;
  const side = (place: number, pick: (a: number, b: number) => number) =>
    found.map((part) => part.bounds[place]!).reduce((a, b) => pick(a, b));
  const [left, top] = [side(0, Math.min), side(1, Math.min)];
  return { left, top, width: side(2, Math.max) - left, height: side(3, Math.max) - top };
}

function meanOfSquares(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value * value, 0) / Math.max(values.length, 1);
}

/** The value that so great a part of all is below; 0 of none. */
function quantile(values: Float32Array, part: number): number {
  return values.slice().sort()[Math.round((values.length - 1) * part)] ?? 0;
}

/**
 * The square around the ink, with its margin, averaged to `size` × `size` values from 0 to 1; zeros where there is no
 * ink. @internal
 */
export function framed({ plane, bounds }: Ink, size: number, margin: number): Float32Array {
  if (!bounds) return new Float32Array(size * size);
  const longer = Math.max(plane.width, plane.height);
  const extent = Math.max(bounds.width, bounds.height, SMALLEST * longer);
  const side = extent / (1 - 2 * margin);
  const area = {
    left: bounds.left + (bounds.width - side) / 2,
    top: bounds.top + (bounds.height - side) / 2,
    width: side,
    height: side,
  };
  return strengthened(resample(plane, area, size, size).values);
}

/** Thin strokes cover only a part of a pixel: their ink is strengthened until the strongest is full. */
function strengthened(values: Float32Array): Float32Array {
  const strongest = values.slice().sort().reverse().subarray(0, Math.ceil(f32(values.length * FULL)));
  const full = strongest.reduce((sum, value) => sum + value, 0) / strongest.length;
  if (!(full > 0)) return values;
  const by = Math.min(Math.max(1 / full, 1), STRONGEST);
  return values.map((value) => Math.min(value * by, 1));
}
