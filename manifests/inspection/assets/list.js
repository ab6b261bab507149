"use strict";
// The list of clips: only what is in sight is in the document, and its rows are fetched in pages.
(() => {
  const { el, name, fileName, stretch, count } = talkreel;
  const PAGE = 100;
  const MAX_PAGES = 40;
  const ROW_PX = 84;
  const CARD_PX = [196, 212];

  class ClipList {
    constructor(api, flags, onPick) {
      Object.assign(this, { api, flags, onPick });
      this.order = new Int32Array(0);
      this.pages = new Map(); // page -> rows, or the promise of them; oldest first
      this.cells = new Map(); // position -> element in the document
      this.at = -1;
      this.isGallery = false;
      this.space = el("div", { class: "space", role: "presentation" });
      this.node = el("div", { class: "list", role: "listbox", tabindex: "0",
        "aria-label": "Clips" }, this.space);
      this.node.addEventListener("scroll", () => this.paint(), { passive: true });
      new ResizeObserver(() => this.paint()).observe(this.node);
    }

    get columns() {
      return this.isGallery ? Math.max(1, Math.floor(this.node.clientWidth / CARD_PX[0])) : 1;
    }

    get cellHeight() {
      return this.isGallery ? CARD_PX[1] : ROW_PX;
    }

    // Shows another order; the picked clip stays picked if it is still there.
    fill(order, pickedRow) {
      this.order = order;
      this.pages.clear();
      this.at = pickedRow === undefined ? -1 : order.indexOf(pickedRow);
      this.repaint();
      this.node.scrollTop = 0;
      if (this.at >= 0) this.reveal();
    }

    setGallery(isGallery) {
      this.isGallery = isGallery;
      this.node.classList.toggle("gallery", isGallery);
      this.repaint();
      this.reveal();
    }

    repaint() {
      this.cells.forEach((cell) => cell.remove());
      this.cells.clear();
      this.paint();
    }

    paint() {
      const { columns, cellHeight } = this;
      const numLines = Math.ceil(this.order.length / columns);
      this.space.style.height = `${numLines * cellHeight}px`;
      const top = Math.max(0, Math.floor(this.node.scrollTop / cellHeight) - 2);
      const end = Math.ceil((this.node.scrollTop + this.node.clientHeight) / cellHeight) + 2;
      const first = top * columns;
      const last = Math.min(this.order.length, end * columns);
      for (const [position, cell] of this.cells) {
        if (position < first || position >= last || cell.columns !== columns) {
          cell.remove();
          this.cells.delete(position);
        }
      }
      for (let position = first; position < last; position += 1) {
        if (!this.cells.has(position)) this.place(position, columns, cellHeight);
      }
    }

    place(position, columns, cellHeight) {
      const cell = el("div", { class: "cell", role: "option", id: `clip-${position}`,
        "aria-selected": position === this.at, "aria-posinset": position + 1,
        "aria-setsize": this.order.length, onclick: () => this.pick(position) });
      cell.columns = columns;
      cell.style.top = `${Math.floor(position / columns) * cellHeight}px`;
      cell.style.left = `${(100 * (position % columns)) / columns}%`;
      cell.style.width = `${100 / columns}%`;
      this.cells.set(position, cell);
      this.space.append(cell);
      this.row(position).then((row) => {
        if (row && this.cells.get(position) === cell) this.draw(cell, row);
      });
    }

    draw(cell, row) {
      const mark = this.flags[row.clip_id];
      const gate = row.failed_gates[0];
      const more = row.failed_gates.length - 1;
      cell.replaceChildren(
        el("img", { src: `thumbnails/${row.clip_id}.jpg`, alt: "", loading: "lazy",
          decoding: "async" }),
        el("div", { class: "text" },
          el("div", { class: "title" }, mark ? el("span", { class: `mark ${mark}`,
            "aria-label": `flagged ${mark}` }, mark === "good" ? "✓" : "✗") : null,
          name(fileName(row.uri))),
          el("div", { class: "quiet" }, stretch(row) +
            (row.track ? `, track ${row.track}` : "")),
          gate
            ? el("div", { class: "why" }, el("b", {}, gate.reason), ` ${talkreel.gateText(gate)}`,
              more ? el("span", { class: "quiet" }, ` and ${more} more`) : null)
            : el("div", { class: `state ${row.state}` }, row.state)));
    }

    async row(position) {
      const page = Math.floor(position / PAGE);
      if (!this.pages.has(page)) {
        const numbers = this.order.slice(page * PAGE, (page + 1) * PAGE);
        this.pages.set(page, this.api.rows(numbers));
        // Beyond this many pages the one that was fetched first goes.
        if (this.pages.size > MAX_PAGES) this.pages.delete(this.pages.keys().next().value);
      }
      try {
        return (await this.pages.get(page))[position - page * PAGE];
      } catch {
        this.pages.delete(page);
        return null;
      }
    }

    async pick(position) {
      if (position < 0 || position >= this.order.length) return;
      const before = this.cells.get(this.at);
      if (before) before.setAttribute("aria-selected", "false");
      this.at = position;
      this.reveal();
      const cell = this.cells.get(position);
      if (cell) cell.setAttribute("aria-selected", "true");
      this.node.setAttribute("aria-activedescendant", `clip-${position}`);
      const row = await this.row(position);
      if (row && this.at === position) this.onPick(row, position);
    }

    step(by) {
      return this.pick(Math.min(this.order.length - 1, Math.max(0, this.at + by)));
    }

    reveal() {
      if (this.at < 0) return;
      const top = Math.floor(this.at / this.columns) * this.cellHeight;
      const bottom = top + this.cellHeight;
      if (top < this.node.scrollTop) this.node.scrollTop = top;
      else if (bottom > this.node.scrollTop + this.node.clientHeight) {
        this.node.scrollTop = bottom - this.node.clientHeight;
      }
      this.paint();
    }

    // Draws the cells anew whose rows are known, after a flag has changed.
    async refresh() {
      for (const [position, cell] of this.cells) {
        const row = await this.row(position);
        if (row) this.draw(cell, row);
      }
    }

    summary() {
      return `${count(this.order.length)} clip${this.order.length === 1 ? "" : "s"}`;
    }
  }

  talkreel.ClipList = ClipList;
})();
