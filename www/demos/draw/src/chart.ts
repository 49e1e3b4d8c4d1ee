import { make } from "./dom.js";

// Room for the labels around the plot, in CSS pixels.
const MARGIN = { left: 42, right: 4, top: 8, bottom: 22 };
// Each point counts a tenth in the smoothed line: single episodes are noisy.
const SMOOTHING = 0.1;

export interface ChartOptions {
  title: string;
  /** Top of the vertical axis; the bottom is 0. Values above it raise it. */
  top: number;
  /** What blind guessing would give. */
  chance: number;
  format: (value: number) => string;
}

/** A small line chart: every value faint, their moving average strong. */
export class LineChart {
  readonly #svg: SVGSVGElement;
  readonly #value = make("output", { textContent: "–" });
  readonly #options: ChartOptions;
  #points: { x: number; y: number; smooth: number }[] = [];
  #end = 1;
  #frame: number | undefined;

  constructor(host: HTMLElement, options: ChartOptions) {
    this.#options = options;
    this.#svg = svg("svg", {
      role: "img",
      "aria-label": `${options.title} during training`,
    }) as SVGSVGElement;
    host.replaceChildren(make("figcaption", {}, options.title, this.#value), this.#svg);
    // The observer also calls once at the start.
    new ResizeObserver(() => this.#schedule()).observe(this.#svg);
  }

  /** Empties the chart; the horizontal axis goes from 0 to `end`. */
  reset(end: number): void {
    this.#points = [];
    this.#end = end;
    this.#schedule();
  }

  add(x: number, y: number): void {
    const before = this.#points.at(-1)?.smooth ?? y;
    this.#points.push({ x, y, smooth: before + SMOOTHING * (y - before) });
    this.#schedule();
  }

  #schedule(): void {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#draw();
    });
  }

  #draw(): void {
    const { top, chance, format } = this.#options;
    const { width, height } = this.#svg.getBoundingClientRect();
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const highest = this.#points.reduce((most, { y }) => Math.max(most, y), top);
    const x = (value: number) => MARGIN.left + (value / this.#end) * (right - MARGIN.left);
    const y = (value: number) => bottom - (value / highest) * (bottom - MARGIN.top);
    const across = (value: number, name: string) =>
      svg("line", { x1: MARGIN.left, x2: right, y1: y(value), y2: y(value), class: name });
    const line = (name: string, key: "y" | "smooth") =>
      svg("polyline", {
        class: name,
        points: this.#points.map((p) => `${x(p.x).toFixed(1)},${y(p[key]).toFixed(1)}`).join(" "),
      });
    const label = (text: string, at: number, base: number, anchor: string) => {
      const element = svg("text", { x: at, y: base, "text-anchor": anchor });
      element.textContent = text;
      return element;
    };
    this.#svg.replaceChildren(
      across(0, "axis"),
      across(highest, "axis"),
      across(chance, "chance"),
      label(format(0), MARGIN.left - 6, y(0) + 4, "end"),
      label(format(highest), MARGIN.left - 6, y(highest) + 4, "end"),
      label("guessing", right, y(chance) - 5, "end"),
      label("0", MARGIN.left, height - 5, "start"),
      label(this.#end > 1 ? `${this.#end} episodes` : "episodes", right, height - 5, "end"),
      line("raw", "y"),
      line("smooth", "smooth"),
    );
    const last = this.#points.at(-1);
    this.#value.textContent = last ? format(last.smooth) : "–";
  }
}

function svg(tag: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
