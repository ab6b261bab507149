"use strict";
// The page that `shards serve` shows: its three views, its keys, and its questions to the server.
(() => {
  const { el, plural } = talkreel;
  const SEARCH_PAUSE_MS = 150;
  const KEYS = [
    ["j, k", "next, previous clip"], ["space", "play, pause"], ["← →", "one frame back, on"],
    ["g, b", "flag good, bad; again takes it back"], ["[ ]", "hear the sound 40 ms earlier, later"],
    ["s", "speed"], ["v", "list or gallery"], ["/", "filter"], ["1 2 3", "clips, limits, run"],
    ["?", "this help"],
  ];

  async function fetched(address, options) {
    const answer = await fetch(address, options);
    if (!answer.ok) {
      const text = await answer.text();
      let told = text;
      try {
        told = JSON.parse(text).error || text;
      } catch { /* plain text as it is */ }
      throw new Error(told || `${answer.status}`);
    }
    return answer;
  }

  const api = {
    get: async (address) => (await fetched(address)).json(),
    order: async (query) => new Int32Array(
      await (await fetched(`api/clips?${query}`)).arrayBuffer()),
    rows: (numbers) => api.get(`api/rows?at=${numbers.join(",")}`),
    flag: async (token, clipId, mark) => (await fetched("api/flags", { method: "POST",
      headers: { "content-type": "application/json", "x-talkreel-token": token },
      body: JSON.stringify({ clip_id: clipId, mark }) })).json(),
  };

  class App {
    constructor(run) {
      this.run = run;
      this.flags = run.flags;
      this.picked = null;
      document.title = `${run.name} · talkreel`;
      this.player = new talkreel.Player(api);
      this.list = new talkreel.ClipList(api, this.flags, (row) => this.pick(row));
      this.message = el("div", { class: "message", role: "alert", hidden: true });
      this.help = el("dialog", { "aria-label": "Keys" }, el("h2", {}, "Keys"),
        el("table", {}, el("tbody", {}, KEYS.map(([key, text]) =>
          el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, text))))),
        el("form", { method: "dialog" }, el("button", {}, "Close")));
      this.views = {
        clips: this.clipsView(),
        limits: el("section", { id: "limits", class: "view" }),
        run: el("section", { id: "run", class: "view" }, talkreel.runView(run)),
      };
      this.tabs = Object.fromEntries([["clips", "Clips"], ["limits", "Limits"], ["run", "Run"]]
        .map(([view, text]) => [view, el("button", { type: "button", role: "tab",
          "aria-controls": view, onclick: () => this.open(view) }, text)]));
      document.body.replaceChildren(
        el("header", { class: "bar" },
          el("h1", {}, talkreel.name(run.name, { title: run.given })),
          el("nav", { role: "tablist", "aria-label": "Views" }, Object.values(this.tabs)),
          talkreel.figures(run),
          el("button", { type: "button", class: "help", "aria-label": "Keys",
            onclick: () => this.help.showModal() }, "?")),
        this.message, el("main", {}, Object.values(this.views)), this.help);
      document.addEventListener("keydown", (event) => this.key(event));
      this.open("clips");
      this.search();
    }

    clipsView() {
      const { run } = this;
      const states = [["", "all"], ...Object.entries(run.clips.states)
        .filter(([, one]) => one.num).map(([state]) => [state, state])];
      this.state = el("select", { "aria-label": "State", onchange: () => this.search() },
        states.map(([value, text]) => el("option", { value }, text)));
      this.reason = el("select", { "aria-label": "Reason", onchange: () => this.search() },
        el("option", { value: "" }, "any reason"),
        Object.entries(run.reasons).map(([reason, num]) =>
          el("option", { value: reason }, `${reason} (${num})`)));
      this.flag = el("select", { "aria-label": "Flag", onchange: () => this.search() },
        [["", "any flag"], ["good", "flagged good"], ["bad", "flagged bad"]].map(([value, text]) =>
          el("option", { value }, text)));
      this.order = el("select", { "aria-label": "Order", onchange: () => this.search() },
        run.orders.map((order) => el("option", { value: order },
          order === "nearest" ? "nearest to the limit" : `by ${order}`)));
      this.text = el("input", { type: "search", placeholder: "Filter by name, caption or id",
        "aria-label": "Filter clips", oninput: () => {
          clearTimeout(this.searchTimer);
          this.searchTimer = setTimeout(() => this.search(), SEARCH_PAUSE_MS);
        } });
      this.count = el("span", { class: "count", role: "status" });
      this.galleryButton = el("button", { type: "button", class: "small", "aria-pressed": "false",
        onclick: () => this.gallery() }, "Gallery");
      this.flagCount = el("a", { href: "flags.csv", download: "flags.csv" });
      this.good = el("button", { type: "button", class: "flag good", "aria-pressed": "false",
        onclick: () => this.mark("good") }, "✓ good");
      this.bad = el("button", { type: "button", class: "flag bad", "aria-pressed": "false",
        onclick: () => this.mark("bad") }, "✗ bad");
      this.clips = el("section", { id: "clips", class: "view" },
        el("div", { class: "pane" },
          el("div", { class: "filters" }, this.text, this.state, this.reason, this.order, this.flag),
          el("div", { class: "row" }, this.count, this.galleryButton, this.flagCount),
          this.list.node),
        el("div", { class: "detail-pane" }, el("div", { class: "row flags" }, this.good, this.bad),
          this.player.node));
      this.showFlags();
      return this.clips;
    }

    async open(view) {
      for (const [one, node] of Object.entries(this.views)) {
        node.hidden = one !== view;
        this.tabs[one].setAttribute("aria-selected", one === view);
      }
      if (view !== "clips") this.player.pause();
      else this.list.paint();
      if (view === "limits" && !this.limits) {
        this.limits = true;
        this.views.limits.replaceChildren(el("p", { class: "quiet" }, "Counting…"));
        try {
          const records = await api.get("api/histograms");
          this.views.limits.replaceChildren(new talkreel.Limits(records,
            (asked) => api.get(`api/what-if?${asked}`), this.run).node);
        } catch (error) {
          this.limits = false;
          this.views.limits.replaceChildren(el("p", { class: "warning" }, error.message));
        }
      }
    }

    async search() {
      if (document.activeElement.matches("select")) this.list.node.focus();
      const query = new URLSearchParams({ state: this.state.value, reason: this.reason.value,
        flag: this.flag.value, order: this.order.value, text: this.text.value.trim() });
      const number = (this.searches || 0) + 1;
      this.searches = number;
      try {
        const order = await api.order(query);
        if (number !== this.searches) return;
        this.list.fill(order);
        this.count.textContent = plural(order.length, "clip");
        if (order.length && !this.list.isGallery) this.list.pick(0);
        else if (!order.length) this.player.empty();
      } catch (error) {
        this.say(error.message);
      }
    }

    pick(row) {
      this.picked = row;
      if (this.list.isGallery && this.galleryOpened) this.gallery();
      this.player.show(row);
      this.showFlags();
    }

    gallery() {
      const isGallery = !this.list.isGallery;
      this.galleryOpened = false;
      this.clips.classList.toggle("gallery", isGallery);
      this.galleryButton.setAttribute("aria-pressed", isGallery);
      this.player.pause();
      this.list.setGallery(isGallery);
      this.galleryOpened = isGallery;
    }

    async mark(mark) {
      if (!this.picked) return;
      const { clip_id: clipId } = this.picked;
      const wanted = this.flags[clipId] === mark ? "none" : mark;
      try {
        const { flags } = await api.flag(this.run.token, clipId, wanted);
        Object.keys(this.flags).forEach((key) => delete this.flags[key]);
        Object.assign(this.flags, flags);
        this.showFlags();
        this.list.refresh();
      } catch (error) {
        this.say(error.message);
      }
    }

    showFlags() {
      const mark = this.picked ? this.flags[this.picked.clip_id] : null;
      this.good.setAttribute("aria-pressed", mark === "good");
      this.bad.setAttribute("aria-pressed", mark === "bad");
      const num = Object.keys(this.flags).length;
      this.flagCount.textContent = num ? `${plural(num, "flag")}, as CSV` : "";
    }

    say(text) {
      this.message.textContent = text;
      this.message.hidden = false;
      clearTimeout(this.messageTimer);
      this.messageTimer = setTimeout(() => { this.message.hidden = true; }, 8000);
    }

    key(event) {
      const inField = event.target.closest("input, select, textarea, dialog");
      if (event.key === "Escape" && inField) event.target.blur();
      if (inField || event.ctrlKey || event.metaKey || event.altKey) return;
      const onButton = event.target.closest("button, a, summary");
      const deeds = {
        j: () => this.list.step(1), k: () => this.list.step(-1),
        ArrowDown: () => this.list.step(this.list.columns), ArrowUp: () => this.list.step(-this.list.columns),
        " ": onButton ? null : () => this.player.toggle(),
        ArrowLeft: () => this.player.seek(this.player.seconds - 0.04),
        ArrowRight: () => this.player.seek(this.player.seconds + 0.04),
        g: () => this.mark("good"), b: () => this.mark("bad"),
        "[": () => this.player.hear(this.player.heardMs + 40),
        "]": () => this.player.hear(this.player.heardMs - 40),
        s: () => this.player.slower(), v: () => this.gallery(),
        Enter: onButton || !this.list.isGallery ? null : () => this.gallery(),
      };
      const views = { "/": () => { this.open("clips"); this.text.focus(); },
        "?": () => this.help.showModal(),
        1: () => this.open("clips"), 2: () => this.open("limits"), 3: () => this.open("run") };
      const deed = views[event.key] || (this.clips.hidden ? null : deeds[event.key]);
      if (!deed) return;
      event.preventDefault();
      deed();
    }
  }

  api.get("api/overview").then((run) => { talkreel.app = new App(run); }, (error) => {
    document.body.replaceChildren(el("p", { class: "warning" }, error.message));
  });
})();
