/** The element with this id; the page is broken without it, so its absence is an error. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as E;
}

/** A new element with properties and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** Draws values in 0..1 as black ink of that opacity; style.css turns it light in the dark scheme. */
export function paintInk(
  context: CanvasRenderingContext2D,
  ink: Float32Array,
  side: number,
  x = 0,
  y = 0,
): void {
  const image = context.createImageData(side, side);
  ink.forEach((value, i) => (image.data[i * 4 + 3] = Math.round(value * 255)));
  context.putImageData(image, x, y);
}
