import { make, paintInk } from "./dom.js";
import { Pad } from "./pad.js";

/** One symbol of the visitor's. Its `id` is the classifier's label, so that renaming costs nothing. */
export interface OwnSymbol {
  readonly id: string;
  name: string;
  examples: Float32Array[];
}

export interface SymbolEvents {
  /** Examples of this symbol came or went, or (`removed`) the symbol itself went. */
  examples: (symbol: OwnSymbol, removed: boolean) => void;
  renamed: () => void;
  /** Something worth telling a visitor who does not see the page. */
  announce: (text: string) => void;
}

/** The cards on which the visitor names and draws symbols. */
export class Symbols {
  readonly list: OwnSymbol[] = [];
  readonly #before: HTMLElement;
  readonly #side: number;
  readonly #events: SymbolEvents;
  #count = 0;

  /** Cards go in front of the element `before`; examples are `side` × `side` values. */
  constructor(before: HTMLElement, side: number, events: SymbolEvents) {
    this.#before = before;
    this.#side = side;
    this.#events = events;
  }

  nameOf(id: string): string {
    return this.list.find((symbol) => symbol.id === id)?.name ?? id;
  }

  /** Adds a card; `focus` puts the cursor into its name. */
  add(name: string | undefined, focus: boolean): void {
    this.#count += 1;
    const symbol: OwnSymbol = {
      id: `symbol-${this.#count}`,
      name: name ?? `Symbol ${this.#count}`,
      examples: [],
    };
    this.list.push(symbol);
    const input = this.#card(symbol);
    if (focus) input.select();
  }

  #card(symbol: OwnSymbol): HTMLInputElement {
    const thumbs = make("ul", { className: "thumbs" });
    const note = make("p", { className: "note thumb-note" });
    const name = make("input", { value: symbol.name, maxLength: 30, autocomplete: "off" });
    name.setAttribute("aria-label", "Name of this symbol");
    const padLabel = () => `Pad to draw an example of ${symbol.name}`;

    const changed = (what: string) => {
      this.#showThumbs(symbol, thumbs, note, changed);
      // What was pressed is gone or disabled now; the keyboard goes on at the pad.
      pad.focus();
      this.#events.announce(what);
      this.#events.examples(symbol, false);
    };
    const accept = () => {
      if (pad.empty) {
        this.#events.announce(`Draw ${symbol.name} first.`);
        return;
      }
      symbol.examples.push(pad.ink(this.#side));
      pad.clear();
      changed(`Example ${symbol.examples.length} of ${symbol.name} added.`);
    };
    const add = make("button", { type: "button", textContent: "Add example", onclick: accept });
    const clear = make("button", { type: "button", textContent: "Clear" });
    add.disabled = clear.disabled = true;
    const pad = new Pad(padLabel(), {
      accepted: accept,
      changed: () => (add.disabled = clear.disabled = pad.empty),
    });
    clear.onclick = () => {
      pad.clear();
      pad.focus();
    };
    const remove = make("button", { type: "button", className: "small", textContent: "Remove" });
    remove.onclick = () => {
      this.list.splice(this.list.indexOf(symbol), 1);
      card.remove();
      this.#before.focus({ preventScroll: true });
      this.#events.announce(`${symbol.name} removed.`);
      this.#events.examples(symbol, true);
    };
    const relabel = () => {
      pad.label = padLabel();
      add.setAttribute("aria-label", `Add example of ${symbol.name}`);
      clear.setAttribute("aria-label", `Clear the pad of ${symbol.name}`);
      remove.setAttribute("aria-label", `Remove ${symbol.name}`);
    };
    name.oninput = () => {
      symbol.name = name.value.trim() || "Unnamed";
      relabel();
      this.#events.renamed();
    };
    relabel();
    this.#showThumbs(symbol, thumbs, note, changed);

    const card = make(
      "article",
      { className: "panel card" },
      make("div", { className: "card-head" }, name, remove),
      pad.element,
      make("div", { className: "actions" }, add, clear),
      thumbs,
      note,
    );
    this.#before.before(card);
    return name;
  }

  #showThumbs(
    symbol: OwnSymbol,
    thumbs: HTMLElement,
    note: HTMLElement,
    changed: (what: string) => void,
  ): void {
    const items = symbol.examples.map((ink, index) => {
      const canvas = make("canvas", { width: this.#side, height: this.#side });
      const context = canvas.getContext("2d");
      if (context) paintInk(context, ink, this.#side);
      const button = make("button", { type: "button", title: "Delete this example" }, canvas);
      button.setAttribute("aria-label", `Delete example ${index + 1} of ${symbol.name}`);
      button.onclick = () => {
        symbol.examples.splice(index, 1);
        changed(`Example deleted, ${symbol.examples.length} left.`);
      };
      return make("li", {}, button);
    });
    thumbs.replaceChildren(...items);
    const count = symbol.examples.length;
    note.textContent =
      count === 0 ? "No examples yet" : `${count} example${count === 1 ? "" : "s"}`;
  }
}
