import type { Sample } from "forgeling/worker";
import { paintInk } from "./dom.js";

const GAP = 6;

/** Draws a sample with one class per column and one example per row. */
export function drawSheet(canvas: HTMLCanvasElement, sample: Sample): void {
  const { classes, width: side } = sample;
  const rows = Math.max(0, ...classes.map(({ images }) => images.length));
  canvas.width = classes.length * (side + GAP) - GAP;
  canvas.height = rows * (side + GAP) - GAP;
  const context = canvas.getContext("2d");
  if (!context) return;
  classes.forEach(({ images }, column) => {
    images.forEach((ink, row) => {
      paintInk(context, ink, side, column * (side + GAP), row * (side + GAP));
    });
  });
}
