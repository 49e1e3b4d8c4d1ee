import { ForgelingError } from "../errors.js";

/** Pixels as a canvas gives them: RGBA, 8 bits each, row by row. */
export interface PixelSource {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** A part of a plane in its pixels, which may reach beyond it. @internal */
export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** One number for each pixel. @internal */
export interface Plane {
  width: number;
  height: number;
  values: Float32Array;
}

// Pictures are averaged down to a short side of so many pixels, or twice the wanted side, before anything else.
const WORKING = 384;
// A side that is longer than this many times the other one loses detail.
const LONGEST = 8;
const f32 = Math.fround;

/** Whatever has pixels: those of a canvas, an element or a frame, or as `getImageData` gives them. */
export type Picture =
  | PixelSource
  | HTMLCanvasElement
  | OffscreenCanvas
  | HTMLImageElement
  | HTMLVideoElement
  | ImageBitmap
  | VideoFrame;

/** The pixels of a picture as it is now. @internal */
export function pixelsOf(operation: string, source: Picture): PixelSource {
  if ("data" in source) return source;
  const [width, height] = sidesOf(source);
  if (!(width > 0 && height > 0)) {
    throw new ForgelingError("invalid_argument", "the picture has no pixels yet", {
      operation,
      expected: "an image that is loaded, or a video with a frame",
      got: `${width} x ${height}`,
    });
  }
  let context = "getContext" in source ? (source.getContext("2d") as OffscreenCanvasRenderingContext2D | null) : null;
  try {
    if (!context) {
      context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
      context?.drawImage(source, 0, 0, width, height);
    }
    if (context) return context.getImageData(0, 0, width, height);
  } catch (cause) {
    // What a browser says where a picture is of another site that does not allow it.
    const message = "the picture's pixels cannot be read";
    throw new ForgelingError("invalid_argument", message, { operation, got: String(cause) });
  }
  throw new ForgelingError("invalid_argument", "there is no 2d context", { operation });
}

function sidesOf(source: Exclude<Picture, PixelSource>): [number, number] {
  if ("naturalWidth" in source) return [source.naturalWidth, source.naturalHeight];
  if ("videoWidth" in source) return [source.videoWidth, source.videoHeight];
  if ("displayWidth" in source) return [source.displayWidth, source.displayHeight];
  return [source.width, source.height];
}

/**
 * Averaged down until the short side has enough pixels to work with for a result of `size`; smaller pictures stay as they
 * are. @internal
 */
export function working(pixels: PixelSource, size: number): PixelSource {
  const side = Math.max(WORKING, 2 * size);
  const [short, long] = [Math.min(pixels.width, pixels.height), Math.max(pixels.width, pixels.height)];
  if (short <= side && long <= side * LONGEST) return pixels;
  const scale = Math.min(side / short, (side * LONGEST) / long);
  const scaled = (length: number) => Math.max(1, Math.round(length * scale));
  return shrink(pixels, scaled(pixels.width), scaled(pixels.height));
}

/** The whole, averaged over areas. What is transparent weighs nothing, so that its colour does not show. */
function shrink(source: PixelSource, width: number, height: number): PixelSource {
  const columns = spans(0, source.width, source.width, width);
  const rows = spans(0, source.height, source.height, height);
  const data = new Uint8ClampedArray(width * height * 4);
  const sums = new Float32Array(width * 4);
  const line = new Float32Array(width * 4);
  rows.forEach((parts, row) => {
    sums.fill(0);
    for (const { cell, share } of parts) {
      averageRow(source, cell, columns, line);
      for (let i = 0; i < sums.length; i += 1) sums[i]! += f32(share * line[i]!);
    }
    for (let i = 0; i < sums.length; i += 4) {
      const alpha = sums[i + 3]!;
      for (let channel = 0; channel < 3 && alpha > 0; channel += 1) {
        data[row * width * 4 + i + channel] = Math.round(f32(sums[i + channel]! / f32(alpha / 255)));
      }
      data[row * width * 4 + i + 3] = Math.round(alpha);
    }
  });
  return { data, width, height };
}

/** One row over areas of columns; colours are weighted by opacity. */
function averageRow({ data, width }: PixelSource, row: number, columns: Span[][], line: Float32Array): void {
  line.fill(0);
  for (let column = 0; column < columns.length; column += 1) {
    for (const { cell, share } of columns[column]!) {
      const from = (row * width + cell) * 4;
      const alpha = f32(share * data[from + 3]!);
      const opaque = f32(alpha / 255);
      line[column * 4]! += f32(opaque * data[from]!);
      line[column * 4 + 1]! += f32(opaque * data[from + 1]!);
      line[column * 4 + 2]! += f32(opaque * data[from + 2]!);
      line[column * 4 + 3]! += alpha;
    }
  }
}

/** Whether some of it is more transparent than not. @internal */
export function isSeeThrough({ data }: PixelSource): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i]! < 128) return true;
  return false;
}

/** What `value` makes of each pixel. @internal */
export function plane({ width, height }: PixelSource, value: (index: number) => number): Plane {
  const values = new Float32Array(width * height);
  for (let i = 0; i < values.length; i += 1) values[i] = value(i);
  return { width, height, values };
}

/** The opacity of each pixel, 0 to 1. @internal */
export function opacity(pixels: PixelSource): Plane {
  return plane(pixels, (i) => pixels.data[i * 4 + 3]! / 255);
}

/** Red (0), green (1) or blue (2) from 0 to 255 on a ground of `ground` where the pixel is transparent. @internal */
export function colour({ data }: PixelSource, index: number, channel: number, ground: number): number {
  const alpha = data[index * 4 + 3]!;
  return f32((data[index * 4 + channel]! * alpha + ground * (255 - alpha)) / 255);
}

/** Brightness, 0 to 255: the luma of ITU-R BT.709. @internal */
export function luma(pixels: PixelSource, index: number, ground: number): number {
  const red = colour(pixels, index, 0, ground);
  const green = colour(pixels, index, 1, ground);
  const blue = colour(pixels, index, 2, ground);
  return red === green && green === blue ? red : 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** The whole of a plane. @internal */
export function whole({ width, height }: { width: number; height: number }): Area {
  return { left: 0, top: 0, width, height };
}

/** An area, averaged to `width` × `height` values; what lies beyond the plane is 0. @internal */
export function resample(source: Plane, area: Area, width: number, height: number): Plane {
  const columns = spans(area.left, area.width, source.width, width);
  const rows = spans(area.top, area.height, source.height, height);
  const values = new Float32Array(width * height);
  rows.forEach((parts, row) => {
    for (const { cell: line, share: weight } of parts) {
      const start = line * source.width;
      for (let column = 0; column < width; column += 1) {
        let sum = 0;
        for (const { cell, share } of columns[column]!) sum += share * source.values[start + cell]!;
        values[row * width + column]! += weight * sum;
      }
    }
  });
  return { width, height, values };
}

/** A cell, and the share of a part that it has. */
interface Span {
  cell: number;
  share: number;
}

/** For each of `targets` equal parts of `start..start + length`, the cells of `0..sources` that it lies over. */
function spans(start: number, length: number, sources: number, targets: number): Span[][] {
  const side = length / targets;
  return Array.from({ length: targets }, (_, target) => {
    const low = start + target * side;
    const high = low + side;
    const parts: Span[] = [];
    for (let cell = Math.floor(Math.max(low, 0)); cell < Math.min(Math.ceil(high), sources); cell += 1) {
      const share = (Math.min(high, cell + 1) - Math.max(low, cell)) / side;
      if (share > 1e-6) parts.push({ cell, share: f32(share) });
    }
    return parts;
  });
}
