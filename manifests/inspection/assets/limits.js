"use strict";
// Limits that can be moved, and what would be kept under them. The server judges; here is only
// asked, never more than one question at a time, and the latest wins.
(() => {
  const { el, histogram, axis, place, number, plural, count, duration, quoted } = talkreel;
  const PAUSE_MS = 60;

  // "sync.confidence", "min" -> "sync.min_confidence", as a recipe's gate is written.
  function keyOf(field, bound) {
    const dot = field.indexOf(".");
    return `${field.slice(0, dot)}.${bound}_${field.slice(dot + 1)}`;
  }

  // Steps that look like something a person would write: 1, 2 or 5 times a power of ten.
  function stepOf(record) {
    const raw = (record.edges[record.edges.length - 1] - record.edges[0]) / 200;
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  }

  function rounded(value, step) {
    return Number((Math.round(value / step) * step).toPrecision(12));
  }

  class Limits {
    constructor(records, ask, run) {
      this.ask = ask;
      this.run = run;
      this.changed = new Map(); // key -> limit, null where one is taken away
      this.isAsking = false;
      this.isStale = false;
      this.node = el("div", { class: "limits" });
      this.summary = el("div", { class: "verdict", role: "status", "aria-live": "polite" });
      this.command = el("code", { class: "command" });
      this.cards = el("div", { class: "histograms" });
      this.search = el("input", { type: "search", placeholder: "Filter measurements",
        "aria-label": "Filter measurements", oninput: () => this.show() });
      this.onlyLimited = el("input", { type: "checkbox", checked: true,
        onchange: () => this.show() });
      this.reset = el("button", { type: "button", onclick: () => this.clear() }, "Reset");
      this.records = records;
      this.node.append(
        el("div", { class: "sticky" }, this.summary,
          el("div", { class: "row" }, this.command, talkreel.copyButton(() =>
            this.command.textContent), this.reset),
          el("div", { class: "row" }, this.search,
            el("label", {}, this.onlyLimited, " with a limit only"),
            el("span", { class: "legend" }, el("i", { class: "kept" }), "kept ",
              el("i", { class: "others" }), "not kept"))),
        this.cards);
      this.show();
      this.told(null);
    }

    // Draws the cards that the filter leaves.
    show() {
      const text = this.search.value.toLowerCase();
      const shown = this.records.filter((record) =>
        (!this.onlyLimited.checked || text || record.gates.length) &&
        `${record.name} ${record.meaning}`.toLowerCase().includes(text));
      this.cards.replaceChildren(...shown.map((record) => this.card(record)));
      if (!shown.length) this.cards.append(el("p", { class: "quiet" }, "No such measurement."));
    }

    card(record) {
      const chart = el("div", { class: "chart" }, histogram(record));
      const inputs = el("div", { class: "row bounds" });
      const title = el("h3", {}, record.name);
      const node = el("section", { class: "card small", "data-name": record.name }, title,
        el("p", { class: "quiet meaning" }, record.meaning,
          record.num_missing ? ` (${plural(record.num_missing, "clip")} without)` : ""),
        chart, axis(record), inputs);
      if (record.edges) {
        ["min", "max"].forEach((bound) => this.bound(record, bound, chart, inputs));
      } else {
        record.gates.forEach((gate) => inputs.append(el("span", {}, `${gate.bound} ${gate.limit}`)));
      }
      return node;
    }

    bound(record, bound, chart, inputs) {
      const key = keyOf(record.name, bound);
      const gate = record.gates.find((one) => one.bound === bound);
      const stored = gate ? gate.limit : null;
      const step = stepOf(record);
      const first = record.edges[0];
      const last = record.edges[record.edges.length - 1];
      const handle = el("div", { class: `limit ${bound}`, role: "slider", tabindex: "0",
        "aria-label": `${bound} of ${record.name}`, "aria-valuemin": first,
        "aria-valuemax": last, "data-key": key });
      const field = el("input", { type: "number", step: "any", "aria-label": `${bound} of ${record.name}`,
        placeholder: "none" });
      const put = (value) => {
        const isThere = value !== null;
        handle.hidden = !isThere;
        if (document.activeElement !== field) field.value = isThere ? value : "";
        if (isThere) {
          handle.style.left = `${100 * place(record, value)}%`;
          handle.setAttribute("aria-valuenow", value);
          handle.setAttribute("aria-valuetext", `${number(value)} ${record.unit}`);
        }
        handle.classList.toggle("moved", value !== stored);
        field.classList.toggle("moved", value !== stored);
      };
      const current = () => (this.changed.has(key) ? this.changed.get(key) : stored);
      const set = (value) => {
        if (value === stored) this.changed.delete(key);
        else this.changed.set(key, value);
        put(value);
        this.asked();
      };
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        handle.focus();
        event.preventDefault();
      });
      handle.addEventListener("pointermove", (event) => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        const box = chart.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
        set(rounded(first + share * (last - first), step));
      });
      handle.addEventListener("keydown", (event) => {
        const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10,
          PageUp: 10 }[event.key];
        if (steps) set(rounded(current() + steps * step * (event.shiftKey ? 10 : 1), step));
        else if (event.key === "Home") set(rounded(first, step));
        else if (event.key === "End") set(rounded(last, step));
        else if (event.key === "Delete" || event.key === "Backspace") set(null);
        else return;
        event.preventDefault();
        event.stopPropagation();
      });
      field.addEventListener("input", () => {
        if (field.value === "") set(null);
        else if (Number.isFinite(field.valueAsNumber)) set(field.valueAsNumber);
      });
      chart.append(handle);
      inputs.append(el("label", {}, `${bound} `, field));
      put(current());
    }

    clear() {
      this.changed.clear();
      this.show();
      this.asked();
    }

    asked() {
      this.isStale = true;
      this.node.classList.add("waiting");
      this.write();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.next(), PAUSE_MS);
    }

    async next() {
      if (this.isAsking || !this.isStale) return;
      this.isAsking = true;
      this.isStale = false;
      const asked = new URLSearchParams();
      for (const [key, limit] of this.changed) {
        if (limit === null) asked.append("unset", key);
        else asked.append("set", `${key}=${limit}`);
      }
      try {
        this.told(this.changed.size ? await this.ask(asked) : null);
      } catch (error) {
        this.summary.replaceChildren(el("p", { class: "warning" }, String(error.message)));
      } finally {
        this.isAsking = false;
        if (this.isStale) this.next();
        else this.node.classList.remove("waiting");
      }
    }

    write() {
      const parts = [...this.changed].map(([key, limit]) =>
        (limit === null ? `--unset=${key}` : `--set=${key}=${limit}`));
      this.command.textContent = parts.length
        ? `shards what-if ${quoted(this.run.given)} ${parts.map(quoted).join(" ")}` : "Drag a limit, or write a number.";
      this.reset.disabled = !parts.length;
    }

    told(answer) {
      this.write();
      const { kept } = this.run.clips.states;
      const now = answer || { num_kept: kept.num, kept_s: kept.seconds, num_won: 0, num_lost: 0,
        won_s: 0, lost_s: 0, num_pending: this.run.clips.states.pending.num };
      talkreel.show(this.summary,
        el("strong", { "data-num-kept": now.num_kept }, plural(now.num_kept, "clip")),
        el("span", {}, `${duration(now.kept_s)} kept`),
        answer ? el("span", { class: "quiet" }, `of ${plural(this.run.clips.num, "clip")}`) : null,
        now.num_won ? el("span", { class: "won" },
          `+${count(now.num_won)} clips, ${duration(now.won_s)}`) : null,
        now.num_lost ? el("span", { class: "lost" },
          `−${count(now.num_lost)} clips, ${duration(now.lost_s)}`) : null,
        now.num_pending ? el("span", { class: "quiet" },
          `${count(now.num_pending)} wait for a stage they were spared`) : null);
    }
  }

  talkreel.Limits = Limits;
})();
