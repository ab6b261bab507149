"use strict";
// Elements and texts. Text goes in as text nodes only, so that no name can become markup.
const talkreel = {};

(() => {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined && child !== false) node.append(child);
    }
    return node;
  }

  talkreel.el = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);

  talkreel.svg = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

  talkreel.show = (node, ...children) => {
    node.replaceChildren();
    return fill(node, {}, children);
  };

  talkreel.plural = (count, word) =>
    `${talkreel.count(count)} ${word}${count === 1 ? "" : "s"}`;

  talkreel.count = (value) => value.toLocaleString("en");

  // 0.1234567 -> 0.1235; 1234.5 -> 1234.5; whole numbers stay whole.
  talkreel.number = (value) => {
    if (value === null || value === undefined) return "missing";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return String(value);
    return Math.abs(value) >= 1000 ? value.toFixed(1) : String(Number(value.toPrecision(4)));
  };

  talkreel.duration = (seconds) => {
    if (seconds >= 36000) return `${Math.round(seconds / 3600).toLocaleString("en")} h`;
    if (seconds >= 3600) return `${(seconds / 3600).toFixed(2)} h`;
    if (seconds >= 60) return `${(seconds / 60).toFixed(1)} min`;
    return `${seconds.toFixed(1)} s`;
  };

  // Where in its source a clip lies.
  talkreel.stretch = (clip) =>
    `from ${clip.start_s.toFixed(1)} s, ${talkreel.duration(clip.duration_s)} long`;

  talkreel.bytes = (value) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = 0;
    while (value >= 1024 && power < units.length - 1) {
      value /= 1024;
      power += 1;
    }
    return `${power ? value.toFixed(1) : value} ${units[power]}`;
  };

  talkreel.clock = (seconds) => {
    const whole = Math.max(0, seconds);
    return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(2).padStart(5, "0")}`;
  };

  talkreel.fileName = (uri) => uri.replace(/\/+$/, "").split("/").pop() || uri;

  // A name in any script, kept from turning the letters around it.
  talkreel.name = (text, attributes) =>
    talkreel.el("bdi", { title: text, ...attributes }, text);

  const SIGNS = { min: "≥", max: "≤", equals: "=", one_of: "one of" };

  talkreel.limitText = (gate) => `${SIGNS[gate.bound]} ${gate.limit}`;

  // What was measured where a limit failed: "521.2 (≤ 520)"; never rounded onto the limit.
  talkreel.gateText = (gate) => {
    const asNumber = gate.measured === null || gate.measured === "" ? NaN : Number(gate.measured);
    const short = Number.isNaN(asNumber) ? gate.measured ?? "missing" : talkreel.number(asNumber);
    const shown = short === String(gate.limit) ? gate.measured : short;
    return `${shown} (${talkreel.limitText(gate)})`;
  };

  talkreel.table = (head, rows, attributes) => {
    const { el } = talkreel;
    return el("table", attributes,
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))))));
  };

  // For a POSIX shell: a folder's name must not become a command when a line is pasted.
  talkreel.quoted = (text) =>
    (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

  talkreel.copyButton = (text) => {
    const button = talkreel.el("button", { type: "button", class: "small", onclick: async () => {
      await navigator.clipboard.writeText(text());
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1200);
    } }, "copy");
    return button;
  };
})();
