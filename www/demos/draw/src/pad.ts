import { imageToInk } from "forgeling/worker";
import { make } from "./dom.js";

// The pad's own coordinates; style.css scales it. A drawing that fills three quarters of the pad gets
// strokes as wide as the training characters have.
const SIDE = 280;
const PEN = 15;
const KEY_STEP = 14;

interface Point {
  x: number;
  y: number;
}

export interface PadEvents {
  /** A stroke grew (`finished` false) or ended, or the pad was cleared. */
  changed?: (finished: boolean) => void;
  /** Enter was pressed. */
  accepted?: () => void;
}

/** A square to draw on with mouse, finger, stylus, or arrow keys and Space. */
export class Pad {
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #marker = make("span", { className: "pen" });
  readonly #events: PadEvents;
  #empty = true;
  #pointer: number | undefined;
  #at: Point = { x: SIDE / 2, y: SIDE / 2 };
  #keyPenDown = false;

  constructor(label: string, events: PadEvents = {}) {
    this.#events = events;
    this.#canvas = make("canvas", { width: SIDE, height: SIDE, tabIndex: 0 });
    this.#canvas.setAttribute("role", "application");
    this.#canvas.setAttribute("aria-roledescription", "drawing pad");
    this.label = label;
    const context = this.#canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser cannot draw on a canvas");
    this.#context = context;
    Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.element = make("div", { className: "pad" }, this.#canvas, this.#marker);
    this.#listen();
    this.#showMarker();
  }

  set label(text: string) {
    this.#canvas.setAttribute("aria-label", text);
  }

  get empty(): boolean {
    return this.#empty;
  }

  /** The drawing as the network sees it: `side` × `side` values in 0..1. */
  ink(side: number): Float32Array {
    return imageToInk(this.#canvas, side, { ink: "alpha" });
  }

  focus(): void {
    this.#canvas.focus({ preventScroll: true });
  }

  clear(): void {
    this.#context.clearRect(0, 0, SIDE, SIDE);
    this.#empty = true;
    this.#keyPenDown = false;
    this.#showMarker();
    this.#events.changed?.(true);
  }

  #listen(): void {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (this.#pointer !== undefined || event.button !== 0) return;
      this.#pointer = event.pointerId;
      canvas.setPointerCapture(event.pointerId);
      this.#at = this.#point(event);
      this.#lineTo(this.#at);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.#pointer) return;
      // Between two frames several positions are merged into one event; they make the line smooth.
      const merged = event.getCoalescedEvents?.() ?? [];
      for (const part of merged.length > 0 ? merged : [event]) this.#lineTo(this.#point(part));
    });
    const end = (event: PointerEvent) => {
      if (event.pointerId !== this.#pointer) return;
      this.#pointer = undefined;
      this.#events.changed?.(true);
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => {
      this.#keyPenDown = false;
      this.#showMarker();
    });
  }

  #key(event: KeyboardEvent): void {
    const step = event.shiftKey ? KEY_STEP / 4 : KEY_STEP;
    const moves: Record<string, Point> = {
      ArrowLeft: { x: -step, y: 0 },
      ArrowRight: { x: step, y: 0 },
      ArrowUp: { x: 0, y: -step },
      ArrowDown: { x: 0, y: step },
    };
    const move = moves[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (move) {
      const to = { x: inPad(this.#at.x + move.x), y: inPad(this.#at.y + move.y) };
      if (this.#keyPenDown) this.#lineTo(to);
      this.#at = to;
    } else if (event.key === " ") {
      this.#keyPenDown = !this.#keyPenDown;
      if (this.#keyPenDown) this.#lineTo(this.#at);
      else this.#events.changed?.(true);
    } else if (event.key === "Enter") {
      this.#events.accepted?.();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.#showMarker();
  }

  #lineTo(to: Point): void {
    const context = this.#context;
    context.beginPath();
    context.moveTo(this.#at.x, this.#at.y);
    // A canvas draws nothing for a line without length, and a tap shall leave a dot.
    context.lineTo(to.x + 0.01, to.y);
    context.stroke();
    this.#at = to;
    this.#empty = false;
    this.#events.changed?.(false);
  }

  #point(event: PointerEvent): Point {
    const box = this.#canvas.getBoundingClientRect();
    return {
      x: inPad(((event.clientX - box.left) / box.width) * SIDE),
      y: inPad(((event.clientY - box.top) / box.height) * SIDE),
    };
  }

  #showMarker(): void {
    this.#marker.style.left = `${(this.#at.x / SIDE) * 100}%`;
    this.#marker.style.top = `${(this.#at.y / SIDE) * 100}%`;
    this.#marker.classList.toggle("down", this.#keyPenDown);
  }
}

function inPad(value: number): number {
  return Math.min(SIDE - PEN / 2, Math.max(PEN / 2, value));
}
