import { ForgelingError } from "./errors.js";

/** Pixels as a canvas gives them: RGBA, 8 bits each, row by row. */
export interface PixelSource {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** How {@link imageToInk} reads a drawing. */
export interface InkOptions {
  /**
   * What counts as ink. `auto` (default): opacity where the image has transparent parts, otherwise
   * whatever differs from the brightness of the image's rim.
   */
  ink?: "auto" | "alpha" | "dark" | "light";
  /** Free space on each side, as a share of the side. Default 0.18, about that of `Dataset.glyphs`. */
  margin?: number;
}

// Fainter than this is paper: scanned and compressed images are never quite white.
const FAINT = 0.12;
// A drawing smaller than this share of the image is not blown up further, so a dot stays a dot.
const SMALLEST = 0.15;

/**
 * Makes a drawing comparable with others: crops it to its ink, scales it with its proportions kept,
 * centres it and averages areas down (or up) to `size` × `size` values in 0..1, where 1 is ink. An empty
 * drawing gives zeros.
 *
 * @param source a canvas or the result of `getImageData`.
 * @param size width and height of the result, in pixels.
 */
export function imageToInk(
  source: PixelSource | HTMLCanvasElement | OffscreenCanvas,
  size: number,
  options: InkOptions = {},
): Float32Array {
  const { margin = 0.18 } = options;
  check(Number.isInteger(size) && size > 0, "size", "a whole number above 0", size);
  check(margin >= 0 && margin < 0.5, "margin", "0 to below 0.5", margin);
  const pixels = pixelsOf(source);
  const { width, height, data } = pixels;
  check(data.length === width * height * 4, "pixels", `${width * height * 4} bytes`, data.length);

  const ink = inkOf(pixels, options.ink ?? "auto");
  const result = new Float32Array(size * size);
  const box = inkBox(ink, width, height);
  if (!box) return result;

  // One output pixel covers `scale` × `scale` input pixels, and the box's middle meets the output's.
  const extent = Math.max(box.right - box.left, box.bottom - box.top, SMALLEST * Math.max(width, height));
  const scale = extent / (size * (1 - 2 * margin));
  const left = (box.left + box.right) / 2 - (scale * size) / 2;
  const top = (box.top + box.bottom) / 2 - (scale * size) / 2;
  for (let row = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1) {
      const x = left + column * scale;
      const y = top + row * scale;
      result[row * size + column] = areaMean(ink, width, height, x, y, scale);
    }
  }
  return result;
}

function check(holds: boolean, what: string, expected: string, got: number): void {
  if (holds) return;
  throw new ForgelingError("invalid_argument", `${what} is out of range`, {
    operation: "image_to_ink",
    expected,
    got: String(got),
  });
}

/** The pixels of a canvas, or those that are given. @internal */
export function pixelsOf(source: PixelSource | HTMLCanvasElement | OffscreenCanvas): PixelSource {
  if (!("getContext" in source)) return source;
  const context = source.getContext("2d") as CanvasRenderingContext2D | null;
  if (!context) {
    throw new ForgelingError("invalid_argument", "the canvas has no 2d context", {
      operation: "image_to_ink",
    });
  }
  return context.getImageData(0, 0, source.width, source.height);
}

function inkOf({ data, width, height }: PixelSource, mode: Required<InkOptions>["ink"]): Float32Array {
  const count = width * height;
  const ink = new Float32Array(count);
  const alpha = (i: number) => data[i * 4 + 3]! / 255;
  const light = (i: number) =>
    (0.299 * data[i * 4]! + 0.587 * data[i * 4 + 1]! + 0.114 * data[i * 4 + 2]!) / 255;
  let read: (i: number) => number;
  if (mode === "dark") read = (i) => (1 - light(i)) * alpha(i);
  else if (mode === "light") read = (i) => light(i) * alpha(i);
  else if (mode === "alpha" || seeThrough(data)) read = alpha;
  else if (rimMean(width, height, light) >= 0.5) read = (i) => 1 - light(i);
  else read = light;
  for (let i = 0; i < count; i += 1) ink[i] = read(i);
  return ink;
}

function seeThrough(data: PixelSource["data"]): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i]! < 128) return true;
  return false;
}

function rimMean(width: number, height: number, light: (i: number) => number): number {
  let sum = 0;
  let count = 0;
  for (let y = 0; y < height; y += 1) {
    const step = y === 0 || y === height - 1 ? 1 : Math.max(1, width - 1);
    for (let x = 0; x < width; x += step) {
      sum += light(y * width + x);
      count += 1;
    }
  }
  return sum / count;
}

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

function inkBox(ink: Float32Array, width: number, height: number): Box | undefined {
  let box: Box | undefined;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (ink[y * width + x]! <= FAINT) continue;
      box ??= { left: x, top: y, right: x + 1, bottom: y + 1 };
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.bottom = y + 1;
    }
  }
  return box;
}

/** The mean of the square at (x, y); what lies outside the image is paper. @internal */
export function areaMean(
  ink: Float32Array,
  width: number,
  height: number,
  x: number,
  y: number,
  side: number,
): number {
  let sum = 0;
  const lastRow = Math.min(height, Math.ceil(y + side));
  const lastColumn = Math.min(width, Math.ceil(x + side));
  for (let row = Math.max(0, Math.floor(y)); row < lastRow; row += 1) {
    const tall = Math.min(row + 1, y + side) - Math.max(row, y);
    for (let column = Math.max(0, Math.floor(x)); column < lastColumn; column += 1) {
      const wide = Math.min(column + 1, x + side) - Math.max(column, x);
      sum += ink[row * width + column]! * tall * wide;
    }
  }
  return Math.min(1, sum / (side * side));
}
