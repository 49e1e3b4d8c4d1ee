import assert from "node:assert/strict";
import { test } from "node:test";
import { ForgelingError, imageToInk } from "../dist/index.js";

/** An RGBA image whose pixel (x, y) is `paint(x, y)`. */
function image(width, height, paint) {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) data.set(paint(x, y), (y * width + x) * 4);
  }
  return { data, width, height };
}
const black = [0, 0, 0, 255];
const white = [255, 255, 255, 255];
const clear = [0, 0, 0, 0];
const inside = (x, y, left, top, wide, tall) => x >= left && x < left + wide && y >= top && y < top + tall;
const near = (actual, expected, slack, what) =>
  assert.ok(Math.abs(actual - expected) <= slack, `${what}: ${actual} is not ${expected} ± ${slack}`);

/** Sum, centre of gravity and extent of what is inked. */
function moments(ink, size) {
  let sum = 0, x = 0, y = 0, left = size, right = -1, top = size, bottom = -1;
  ink.forEach((value, i) => {
    const [column, row] = [i % size, Math.floor(i / size)];
    sum += value;
    x += value * (column + 0.5);
    y += value * (row + 0.5);
    if (value < 0.05) return;
    left = Math.min(left, column);
    right = Math.max(right, column + 1);
    top = Math.min(top, row);
    bottom = Math.max(bottom, row + 1);
  });
  return { sum, x: x / sum, y: y / sum, wide: right - left, tall: bottom - top };
}

test("a square anywhere fills the middle of the result exactly", () => {
  const drawn = image(90, 70, (x, y) => (inside(x, y, 51, 9, 32, 32) ? black : clear));
  const ink = imageToInk(drawn, 20, { margin: 0.1 });
  ink.forEach((value, i) => {
    const expected = inside(i % 20, Math.floor(i / 20), 2, 2, 16, 16) ? 1 : 0;
    near(value, expected, 1e-5, `pixel ${i}`);
  });
});

test("proportions are kept and the drawing is centred", () => {
  const drawn = image(200, 120, (x, y) => (inside(x, y, 20, 80, 90, 30) ? black : white));
  const { x, y, wide, tall, sum } = moments(imageToInk(drawn, 28, { margin: 1 / 28 }), 28);
  near(x, 14, 0.01, "centre x");
  near(y, 14, 0.01, "centre y");
  near(wide, 26, 0, "width");
  near(tall, 10, 1, "height");
  near(sum, (26 * 26) / 3, 0.5, "area");
});

test("dark on light, light on dark and opaque on clear read the same", () => {
  const shape = (x, y) => inside(x, y, 10, 12, 25, 5) || inside(x, y, 20, 3, 4, 30);
  const dark = imageToInk(image(50, 41, (x, y) => (shape(x, y) ? black : white)), 13);
  const light = imageToInk(image(50, 41, (x, y) => (shape(x, y) ? white : black)), 13);
  const alpha = imageToInk(image(50, 41, (x, y) => (shape(x, y) ? white : clear)), 13);
  assert.ok(dark.some((v) => v > 0.5));
  assert.deepEqual(light, dark);
  assert.deepEqual(alpha, dark);
});

test("the ink option overrides the guess", () => {
  const drawn = image(30, 30, (x, y) => (inside(x, y, 0, 0, 30, 20) ? black : white));
  assert.notDeepEqual(imageToInk(drawn, 9, { ink: "dark" }), imageToInk(drawn, 9, { ink: "light" }));
});

test("of a see-through picture, dark and light ink are told from paper that shows through", () => {
  const sheet = image(60, 60, (x, y) => {
    if (inside(x, y, 20, 10, 4, 40)) return black;
    return inside(x, y, 35, 25, 12, 12) ? white : clear;
  });
  const dark = moments(imageToInk(sheet, 20, { ink: "dark" }), 20);
  assert.ok(dark.tall >= 12 && dark.wide <= 3, `${dark.wide} × ${dark.tall}`);
  const light = moments(imageToInk(sheet, 20, { ink: "light" }), 20);
  near(light.sum, (0.64 * 20) ** 2, 5, "area of the square");
  const alpha = imageToInk(sheet, 20, { ink: "alpha" });
  assert.deepEqual(imageToInk(sheet, 20), alpha);
  assert.ok(moments(alpha, 20).wide > 5);
});

test("ink on gray, unevenly lit paper is full, and its paper is none", () => {
  const stroke = (x, y) => inside(x, y, 40, 20, 4, 50) || inside(x, y, 25, 66, 40, 4);
  const page = (ink) => image(120, 90, (x, y) => Array(3).fill((stroke(x, y) ? ink : 1) * (70 + x)).concat(255));
  const clean = imageToInk(image(120, 90, (x, y) => (stroke(x, y) ? black : white)), 28);
  for (const ink of [0.4, 1.3]) {
    const found = imageToInk(page(ink), 28);
    const off = found.reduce((sum, value, i) => sum + Math.abs(value - clean[i]), 0) / clean.length;
    assert.ok(off < 0.03, `ink of ${ink} is off by ${off}`);
    assert.ok(Math.max(...found) > 0.99 && found.filter((value) => value === 0).length > 500);
  }
});

test("averaging keeps proportions of ink: a checkerboard is half of what is solid, and full where there is no more", () => {
  const board = (solid) => image(64, 64, (x, y) => (x < solid || (x + y) % 2 ? black : clear));
  imageToInk(board(32), 8, { margin: 0 }).forEach((value, i) => near(value, i % 8 < 4 ? 1 : 0.5, 1e-6, `pixel ${i}`));
  for (const value of imageToInk(board(0), 8, { margin: 0 })) near(value, 1, 1e-6, "the strongest ink");
});

test("a dot stays small, and an empty drawing gives zeros", () => {
  const dot = imageToInk(image(280, 280, (x, y) => (inside(x, y, 250, 30, 6, 6) ? black : clear)), 28);
  const { x, y, wide } = moments(dot, 28);
  near(x, 14, 0.01, "centre x");
  near(y, 14, 0.01, "centre y");
  assert.ok(wide >= 3 && wide <= 5, `a dot of ${wide} pixels`);
  assert.ok(imageToInk(image(11, 7, () => clear), 5).every((v) => v === 0));
  assert.ok(imageToInk(image(11, 7, () => white), 5).every((v) => v === 0));
});

test("values stay within 0..1 when a small drawing is enlarged", () => {
  const ink = imageToInk(image(5, 4, (x, y) => ((x * y) % 2 ? black : clear)), 31);
  assert.equal(ink.length, 31 * 31);
  assert.ok(ink.every((v) => v >= 0 && v <= 1));
});

test("sizes, margins and inks out of range are refused", () => {
  const drawn = image(4, 4, () => black);
  const refused = (error) => error instanceof ForgelingError && error.code === "invalid_argument";
  for (const size of [0, -1, 2.5, Number.NaN]) assert.throws(() => imageToInk(drawn, size), refused);
  for (const margin of [-0.1, 0.5]) assert.throws(() => imageToInk(drawn, 8, { margin }), refused);
  assert.throws(() => imageToInk(drawn, 8, { ink: "blue" }), refused);
  assert.throws(() => imageToInk({ ...drawn, width: 5 }, 8), refused);
});
