import { ForgelingError } from "./errors.js";
import { colour, luma, pixelsOf, plane, resample, working, type Picture } from "./picture/raster.js";

/**
 * Examples: the values of any number of them one after the other, pictures, or an array of either. An image's values are
 * `channels × height × width`, best in 0..1; a picture becomes one as {@link imageToPixels} says.
 */
export type Images = Float32Array | Picture | readonly (Float32Array | Picture)[];

/** What one example consists of; a row of plain numbers is a picture of height 1. */
export interface ExampleShape {
  channels: number;
  height: number;
  width: number;
}

/**
 * Makes a picture an input of a network, as the library does with pictures in files: its central square, averaged down
 * (or up) to `size` × `size` values in 0..1; what is transparent is 0. For drawings see `imageToInk`, which crops and centres
 * them.
 *
 * @param source a canvas, an image or video element, a bitmap, a video frame, or the result of `getImageData`.
 * @param size width and height of the result, in pixels.
 * @param channels 1 for brightness (default; the luma of ITU-R BT.709), 3 for red, green and blue one after the other.
 */
export function imageToPixels(source: Picture, size: number, channels: 1 | 3 = 1): Float32Array {
  if (!(Number.isInteger(size) && size > 0)) wrong("image_to_pixels", "size is out of range", "a whole number above 0", size);
  if (channels !== 1 && channels !== 3) wrong("image_to_pixels", "channels is out of range", "1 or 3", channels);
  const given = pixelsOf("image_to_pixels", source);
  const bytes = given.width * given.height * 4;
  if (given.data.length !== bytes || bytes === 0) {
    wrong("image_to_pixels", "the picture has no whole pixels", `${bytes} bytes`, given.data.length);
  }
  const pixels = working(given, size);
  const side = Math.min(pixels.width, pixels.height);
  const square = { left: (pixels.width - side) / 2, top: (pixels.height - side) / 2, width: side, height: side };
  const result = new Float32Array(channels * size * size);
  for (let channel = 0; channel < channels; channel += 1) {
    const values = plane(pixels, (i) => (channels === 3 ? colour(pixels, i, channel, 0) : luma(pixels, i, 0)) / 255);
    result.set(resample(values, square, size, size).values, channel * size * size);
  }
  return result;
}

/** All values of examples one after the other. @internal */
export function valuesOf(operation: string, images: Images, shape: ExampleShape): Float32Array {
  const all = isList(images) ? images : [images];
  const parts = all.map((image) => {
    if (image instanceof Float32Array) return image;
    if (shape.height !== shape.width || (shape.channels !== 1 && shape.channels !== 3)) {
      const { channels, height, width } = shape;
      return wrong(operation, "the network takes no pictures", `values of [${channels}, ${height}, ${width}]`, "a picture");
    }
    return imageToPixels(image, shape.height, shape.channels);
  });
  if (parts.length === 1) return parts[0]!;
  const values = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    values.set(part, place);
    place += part.length;
  }
  return values;
}

function isList(images: Images): images is readonly (Float32Array | Picture)[] {
  return Array.isArray(images);
}

function wrong(operation: string, message: string, expected: string, got: unknown): never {
  throw new ForgelingError("invalid_argument", message, { operation, expected, got: String(got) });
}
