import { ForgelingError } from "./errors.js";
import { areaMean, pixelsOf, type PixelSource } from "./ink.js";

type Picture = PixelSource | HTMLCanvasElement | OffscreenCanvas;

/**
 * Examples: the values of any number of them one after the other, pictures, or an array of either. An image's values are
 * `channels × height × width`, best in 0..1; a picture becomes one as {@link imageToPixels} says.
 */
export type Images = Float32Array | Picture | readonly (Float32Array | Picture)[];

/** What one example consists of. @internal */
export interface ExampleShape {
  channels: number;
  height: number;
  width: number;
}

/**
 * Makes a picture an input of a network: its central square, averaged down (or up) to `size` × `size` values in 0..1;
 * what is transparent is 0. For drawings see `imageToInk`, which crops and centres them.
 *
 * @param source a canvas or the result of `getImageData`.
 * @param size width and height of the result, in pixels.
 * @param channels 1 for brightness (default), 3 for red, green and blue one after the other.
 */
export function imageToPixels(source: Picture, size: number, channels: 1 | 3 = 1): Float32Array {
  if (!(Number.isInteger(size) && size > 0)) wrong("image_to_pixels", "size is out of range", "a whole number above 0", size);
  if (channels !== 1 && channels !== 3) wrong("image_to_pixels", "channels is out of range", "1 or 3", channels);
  const { data, width, height } = pixelsOf(source);
  if (data.length !== width * height * 4 || data.length === 0) {
    wrong("image_to_pixels", "the picture has no whole pixels", `${width * height * 4} bytes`, data.length);
  }
  const side = Math.min(width, height);
  const [left, top, scale] = [(width - side) / 2, (height - side) / 2, side / size];
  const result = new Float32Array(channels * size * size);
  for (let channel = 0; channel < channels; channel += 1) {
    const plane = Float32Array.from({ length: width * height }, (_, i) => {
      const [red, green, blue] = [data[i * 4]!, data[i * 4 + 1]!, data[i * 4 + 2]!];
      const value = channels === 3 ? data[i * 4 + channel]! : 0.299 * red + 0.587 * green + 0.114 * blue;
      return (value * data[i * 4 + 3]!) / (255 * 255);
    });
    for (let pixel = 0; pixel < size * size; pixel += 1) {
      const x = left + (pixel % size) * scale;
      const y = top + Math.floor(pixel / size) * scale;
      result[channel * size * size + pixel] = areaMean(plane, width, height, x, y, scale);
    }
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
