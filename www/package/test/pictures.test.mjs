// The library's own results, which tests/tests/pictures_golden.rs writes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { imageToInk, imageToPixels } from "../dist/index.js";
import { working } from "../dist/picture/raster.js";

const golden = JSON.parse(readFileSync(new URL("../../../tests/golden/pictures.json", import.meta.url), "utf8"));
const bytes = (base64) => Uint8Array.from(Buffer.from(base64, "base64"));

/** RGBA, with every pixel repeated `times` across and down. */
function source({ channels, width, height, times, pixels }) {
  const from = bytes(pixels);
  const data = new Uint8ClampedArray(width * times * height * times * 4);
  for (let i = 0; i < data.length / 4; i += 1) {
    const [x, y] = [i % (width * times), Math.floor(i / (width * times))];
    const start = (Math.floor(y / times) * width + Math.floor(x / times)) * channels;
    const pixel = from.subarray(start, start + channels);
    data.set(channels === 1 ? [pixel[0], pixel[0], pixel[0], 255] : [...pixel, 255].slice(0, 4), i * 4);
  }
  return { data, width: width * times, height: height * times };
}

function agree(found, values) {
  const expected = bytes(values);
  assert.equal(found.length, expected.length);
  found.forEach((value, i) => {
    const off = Math.abs(255 * value - expected[i]);
    assert.ok(off <= 1, `value ${i}: ${255 * value}, not ${expected[i]} of 255`);
  });
}

for (const picture of golden) {
  test(`${picture.name}: a drawing is that of the library`, () => {
    for (const { size, values } of picture.drawings) agree(imageToInk(source(picture), size), values);
  });

  test(`${picture.name}: a picture is that of the library`, () => {
    for (const { size, channels, values } of picture.pictures) agree(imageToPixels(source(picture), size, channels), values);
  });
}

test("large and long pictures are worked on in few pixels", () => {
  const sides = (width, height, size) => {
    const found = working({ data: new Uint8ClampedArray(width * height * 4), width, height }, size);
    return [found.width, found.height];
  };
  assert.deepEqual(sides(576, 432, 28), [512, 384]);
  assert.deepEqual(sides(576, 432, 300), [576, 432]);
  assert.deepEqual(sides(384, 3072, 28), [384, 3072]);
  assert.deepEqual(sides(20, 6144, 28), [10, 3072]);
});
