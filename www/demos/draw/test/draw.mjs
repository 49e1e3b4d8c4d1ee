// Drives the demo as a visitor would: trains on the CPU, draws three symbols, asks about new drawings.
// SCREENSHOTS=folder keeps pictures at desktop and phone width; EPISODES sets the length of training;
// DEVICE=auto with WEBGPU=1 takes WebGPU in software instead.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "../../../tools/browser.mjs";
import { serve } from "../../../tools/serve.mjs";

const episodes = Number(process.env.EPISODES ?? 60);
const device = process.env.DEVICE ?? "cpu";
const pictures = process.env.SCREENSHOTS;
const minutes = 60_000;

let server, browser, page;
const problems = [];

before(async () => {
  server = await serve();
  browser = await launch({ webgpu: Boolean(process.env.WEBGPU) });
  page = await open({ viewport: { width: 1280, height: 900 } });
});
after(async () => {
  await browser?.close();
  await server?.close();
});

async function open(options, query = `?device=${device}&episodes=${episodes}&filters=16&seed=7`) {
  const opened = await browser.newPage(options);
  opened.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(message.text());
  });
  opened.on("pageerror", (error) => problems.push(String(error)));
  await opened.goto(`${server.origin}/demos/draw/${query}`);
  return opened;
}

const enabled = (id, timeout) => page.waitForFunction((i) => !document.getElementById(i).disabled, id, { timeout });
const picture = async (name, of = page) => {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await of.evaluate(() => document.activeElement?.blur());
  await of.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
};

// A small seeded generator (mulberry32): the same jitter in every run.
let state = 20170315;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const around = (middle, spread) => middle + (random() * 2 - 1) * spread;

/** Strokes in a unit square. */
const shapes = {
  Circle: () => [Array.from({ length: 25 }, (_, i) => [0.5 + 0.3 * Math.cos(i / 3.9), 0.5 + 0.3 * Math.sin(i / 3.9)])],
  Cross: () => [[[0.22, 0.22], [0.78, 0.78]], [[0.78, 0.22], [0.22, 0.78]]],
  Zigzag: () => [[[0.15, 0.3], [0.32, 0.7], [0.5, 0.3], [0.68, 0.7], [0.85, 0.3]]],
};

/** Draws a shape on a pad, moved, scaled, turned and shaken a little. */
async function draw(pad, name) {
  await pad.scrollIntoViewIfNeeded();
  const box = await pad.boundingBox();
  const [scale, angle, dx, dy] = [around(0.85, 0.12), around(0, 0.15), around(0, 0.06), around(0, 0.06)];
  for (const stroke of shapes[name]()) {
    const points = stroke.map(([x, y]) => {
      const [u, v] = [(x - 0.5) * scale, (y - 0.5) * scale];
      const turned = [u * Math.cos(angle) - v * Math.sin(angle) + dx, u * Math.sin(angle) + v * Math.cos(angle) + dy];
      return [box.x + (0.5 + turned[0] + around(0, 0.012)) * box.width, box.y + (0.5 + turned[1] + around(0, 0.012)) * box.height];
    });
    await page.mouse.move(...points[0]);
    await page.mouse.down();
    for (const point of points.slice(1)) await page.mouse.move(...point, { steps: 4 });
    await page.mouse.up();
  }
}

test("the page opens a device and shows what it trains on", async () => {
  await enabled("train", 2 * minutes);
  assert.notEqual(await page.textContent("#device"), "…");
  assert.ok((await page.textContent("#reason")).length > 3);
  const inked = await page.evaluate(() => {
    const sheet = document.getElementById("sheet");
    const { data } = sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height);
    let sum = 0;
    for (let i = 3; i < data.length; i += 4) sum += data[i] / 255;
    return { share: (sum * 4) / data.length, width: sheet.width };
  });
  assert.ok(inked.width > 300, "the sheet has columns");
  assert.ok(inked.share > 0.01 && inked.share < 0.6, `ink covers ${inked.share} of the sheet`);
});

test("training reports steps, fills the charts and leaves the page responsive", async () => {
  await page.evaluate(() => {
    window.longestGap = 0;
    let last = performance.now();
    window.heartbeat = setInterval(() => {
      const now = performance.now();
      window.longestGap = Math.max(window.longestGap, now - last);
      last = now;
    }, 20);
  });
  await page.click("#train");
  await page.waitForFunction(() => document.querySelector("#loss-chart .raw").points.numberOfItems >= 5, null, { timeout: 5 * minutes });
  assert.equal(page.workers().length, 1, "training runs in a worker");
  await picture("training");
  await enabled("train", 9 * minutes);
  const gap = await page.evaluate(() => (clearInterval(window.heartbeat), window.longestGap));
  assert.ok(gap < 500, `the page stood still for ${Math.round(gap)} ms`);

  const points = await page.evaluate(() => document.querySelector("#accuracy-chart .raw").points.numberOfItems);
  assert.equal(points, episodes);
  assert.match(await page.textContent("#speed"), /^\d+\.\d episodes per second$/);
  assert.match(await page.textContent("#progress-text"), new RegExp(`^${episodes} episodes in \\d+ s\\.$`));
  await page.waitForFunction(() => /± .* % right/.test(document.getElementById("evaluation").textContent), null, { timeout: 5 * minutes });
  const right = Number.parseFloat(await page.textContent("#evaluation"));
  assert.ok(right > 45, `${right} % on unseen characters, where guessing gives 20`);
});

test("it recognises new drawings of three symbols after four examples of each", async () => {
  for (const [index, name] of Object.keys(shapes).entries()) {
    const card = page.locator(".card").nth(index);
    for (let example = 0; example < 4; example += 1) {
      await draw(card.locator("canvas").first(), name);
      await card.getByRole("button", { name: "Add example" }).click();
    }
    assert.equal(await card.locator(".thumbs li").count(), 4);
  }
  const pad = page.locator("#test-pad canvas");
  for (const name of ["Zigzag", "Circle", "Cross", "Circle", "Zigzag", "Cross"]) {
    await page.click("#clear-test");
    await page.waitForFunction(() => document.getElementById("answer").textContent === "Draw here.");
    await draw(pad, name);
    await page.waitForFunction((n) => document.getElementById("answer").textContent === `This looks like ${n}.`, name, { timeout: 10_000 });
    const shares = await page.locator("#bars .percent").allTextContents();
    assert.equal(shares.length, 3);
    const total = shares.reduce((sum, text) => sum + Number.parseFloat(text), 0);
    assert.ok(Math.abs(total - 100) <= 2, `the bars add up to ${total} %`);
  }
  await picture("answer");
});

test("examples can be deleted, symbols renamed, added and removed", async () => {
  const first = page.locator(".card").first();
  await first.getByRole("button", { name: "Delete example 1 of Circle" }).click();
  assert.equal(await first.locator(".thumbs li").count(), 3);
  await page.getByRole("textbox").nth(2).fill("Lightning");
  assert.ok((await page.locator("#bars .name").allTextContents()).includes("Lightning"));
  await page.click("#add-class");
  assert.equal(await page.locator(".card").count(), 4);
  await page.getByRole("button", { name: "Remove Symbol 4" }).click();
  await page.getByRole("button", { name: "Remove Cross" }).click();
  await page.waitForFunction(() => document.querySelectorAll("#bars li").length === 2);
});

test("the keyboard draws, adds and clears", async () => {
  const pad = page.locator(".card").first().locator("canvas").first();
  await pad.focus();
  await page.keyboard.press("Space");
  for (const key of ["ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft"]) await page.keyboard.press(key);
  await page.keyboard.press("Space");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator(".card").first().locator(".thumbs li").count(), 4);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "CANVAS", "the keyboard stays at the pad");
  await page.keyboard.press("Enter");
  assert.match(await page.textContent("#announce"), /first/, "an empty pad adds nothing");
});

test("a saved model can be loaded, and another file is refused in plain words", async () => {
  const file = join(tmpdir(), `forgeling-draw-${process.pid}.safetensors`);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
  await download.saveAs(file);
  assert.ok(readFileSync(file).length > 50);
  await page.setInputFiles("#load", file);
  await page.waitForFunction(() => /^Loaded from/.test(document.getElementById("progress-text").textContent));
  await page.waitForFunction(() => /This looks like/.test(document.getElementById("answer").textContent));

  writeFileSync(file, "this is not a model");
  await page.setInputFiles("#load", file);
  await page.waitForSelector("#alert:not([hidden])");
  assert.match(await page.textContent("#alert"), /not a model/);
});

test("training can be stopped early and keeps what it learned", async () => {
  await page.click("#train");
  await enabled("stop");
  await page.waitForFunction(() => /^Episode \d/.test(document.getElementById("progress-text").textContent), null, { timeout: minutes });
  await page.click("#stop");
  await page.waitForFunction(() => /stopped by you/.test(document.getElementById("progress-text").textContent), null, { timeout: minutes });
  await enabled("save", minutes);
});

test("a device that is missing is explained, and nonsense in the address too", async () => {
  const missing = await open({}, "?device=gpu:77");
  await missing.waitForSelector("#alert:not([hidden])", { timeout: minutes });
  await missing.waitForFunction(() => /device=cpu/.test(document.getElementById("alert").textContent), null, { timeout: minutes });
  assert.ok(await missing.isDisabled("#train"), "nothing can be trained without a device");
  await missing.close();
  const nonsense = await open({}, "?episodes=many&device=cpu");
  await nonsense.waitForSelector("#alert:not([hidden])", { timeout: minutes });
  assert.match(await nonsense.textContent("#alert"), /“episodes” must be a whole number/);
  await nonsense.waitForFunction(() => !document.getElementById("train").disabled);
  await nonsense.close();
});

test("it fits a phone, in the dark too", async () => {
  const phone = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  await phone.waitForFunction(() => !document.getElementById("train").disabled);
  const overflow = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
  const pad = phone.locator(".card canvas").first();
  await pad.scrollIntoViewIfNeeded();
  const box = await pad.boundingBox();
  await phone.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
  await phone.getByRole("button", { name: "Add example of Circle" }).tap();
  const ink = await phone.evaluate(() => {
    const thumb = document.querySelector(".thumbs canvas");
    const { data } = thumb.getContext("2d").getImageData(0, 0, thumb.width, thumb.height);
    return data.filter((_, i) => i % 4 === 3).reduce((sum, alpha) => sum + alpha / 255, 0);
  });
  assert.ok(ink > 4, `a tap left ${ink} pixels of ink`);
  if (pictures) await phone.screenshot({ path: join(pictures, "phone-top.png") });
  await picture("phone", phone);
  await phone.close();
  await page.emulateMedia({ colorScheme: "dark" });
  await picture("dark");
});

test("nothing was reported on the console", () => {
  assert.deepEqual(problems, []);
});
