import { ForgelingError } from "./errors.js";
import { framed, inkOf, inkOnPaper, opaqueInk } from "./picture/drawing.js";
import { pixelsOf, working, type Picture, type PixelSource } from "./picture/raster.js";

/** How {@link imageToInk} reads a drawing. */
export interface InkOptions {
  /**
   * What counts as ink. `auto` (default): opacity where some of the picture is more transparent than not, otherwise what
   * differs from the paper, dark or light, whichever is clearer. `dark` and `light` choose one of these, also of a picture
   * that is see-through; `alpha` is opacity in any case.
   */
  ink?: "auto" | "alpha" | "dark" | "light";
  /** Free space on each side, as a share of the side. Default 0.18, about that of `Dataset.glyphs`. */
  margin?: number;
}

const READERS = {
  auto: inkOf,
  alpha: opaqueInk,
  dark: (pixels: PixelSource) => inkOnPaper(pixels, false),
  light: (pixels: PixelSource) => inkOnPaper(pixels, true),
};

/**
 * Makes a drawing comparable with others, as the library does with drawings in files: takes the ink from its page, crops
 * to the square around it, centres it with its proportions kept and averages areas down (or up) to `size` × `size` values
 * in 0..1, where 1 is ink. An empty drawing gives zeros.
 *
 * The page may be a clean scan, or photographed: where it is gray, unevenly lit or noisy, the light is levelled and the
 * ink stretched; what comes in from the border, as a desk does, is left out. Thin strokes, which cover only parts of
 * pixels, are strengthened up to 4 times until the strongest are full.
 *
 * @param source a canvas, an image or video element, a bitmap, a video frame, or the result of `getImageData`.
 * @param size width and height of the result, in pixels.
 */
export function imageToInk(
  source: Picture,
  size: number,
  options: InkOptions = {},
): Float32Array {
  const { ink = "auto", margin = 0.18 } = options;
  check(Number.isInteger(size) && size > 0, "size", "a whole number above 0", size);
  check(margin >= 0 && margin < 0.5, "margin", "0 to below 0.5", margin);
  check(Object.hasOwn(READERS, ink), "ink", Object.keys(READERS).join(", "), ink);
  const pixels = pixelsOf("image_to_ink", source);
  const { width, height, data } = pixels;
  check(data.length === width * height * 4, "pixels", `${width * height * 4} bytes`, data.length);
  if (data.length === 0) return new Float32Array(size * size);
  return framed(READERS[ink](working(pixels, size)), size, margin);
}

function check(holds: boolean, what: string, expected: string, got: number | string): void {
  if (holds) return;
  throw new ForgelingError("invalid_argument", `${what} is out of range`, {
    operation: "image_to_ink",
    expected,
    got: String(got),
  });
}
