"use strict";
// The page that `shards report` writes: everything in one file, nothing to ask for.
(() => {
  const { el, name, fileName, stretch, count, plural, histogram, axis, number, place,
    gateText } = talkreel;
  const data = JSON.parse(document.getElementById("data").textContent);

  function tile(clip) {
    const [first, ...others] = clip.failed_gates;
    return el("figure", {},
      el("img", { src: clip.picture, alt: clip.caption || "", loading: "lazy" }),
      el("figcaption", {}, el("b", {}, name(fileName(clip.uri), { title: clip.uri })),
        el("div", { class: "quiet" }, stretch(clip)),
        first
          ? el("div", {}, `${first.field} ${gateText(first)}`,
            others.length ? el("span", { class: "quiet" }, ` and ${others.length} more`) : null)
          : el("div", {}, clip.caption || "")));
  }

  function limited(record) {
    const chart = el("div", { class: "chart" }, histogram(record));
    if (record.edges) {
      record.gates.filter((gate) => typeof gate.limit === "number").forEach((gate) => {
        const line = el("div", { class: "limit fixed" });
        line.style.left = `${100 * place(record, gate.limit)}%`;
        chart.append(line);
      });
    }
    return el("section", { class: "card small" }, el("h3", {}, record.name),
      el("p", { class: "quiet meaning" }, record.meaning,
        record.num_missing ? ` (${plural(record.num_missing, "clip")} without)` : ""),
      chart, axis(record),
      el("p", { class: "quiet bounds" }, record.gates.map((gate) =>
        `${gate.bound} ${number(gate.limit)}`).join(", ")));
  }

  const { run } = data;
  const withLimit = data.histograms.filter((record) => record.gates.length);
  const without = data.histograms.filter((record) => !record.gates.length);
  const shown = (some, all) => (some < all ? `, ${count(some)} of ${count(all)} shown` : "");
  document.title = `${run.name} · talkreel`;
  document.body.replaceChildren(el("main", { class: "report" },
    el("header", {}, el("h1", {}, name(run.name, { title: run.given })), talkreel.figures(run)),
    talkreel.runView(run),
    el("h2", {}, `Kept${shown(data.kept.length, run.clips.states.kept.num)}`),
    el("div", { class: "tiles" }, data.kept.map(tile)),
    data.rejected.length
      ? el("h2", {}, "Rejected, by reason; nearest to the limit first") : "",
    data.rejected.map(({ reason, num, clips }) => [
      el("h3", { class: "reason" }, `${reason}: ${plural(num, "clip")}${shown(clips.length, num)}`),
      el("div", { class: "tiles" }, clips.map(tile))]).flat(),
    el("h2", {}, "Measurements and limits", " ",
      el("span", { class: "legend" }, el("i", { class: "kept" }), "kept ",
        el("i", { class: "others" }), "not kept")),
    el("div", { class: "histograms" }, withLimit.map(limited)),
    without.length ? el("h2", {}, "Measurements without a limit") : "",
    el("div", { class: "histograms" }, without.map(limited))));
})();
