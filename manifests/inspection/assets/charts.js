"use strict";
// Charts: histograms with limits, and curves. SVG, drawn once; what moves is moved by its owner.
(() => {
  const { svg, el, number } = talkreel;
  const WIDTH = 300;
  const HEIGHT = 84;

  // Draws stacked counts; `at` turns a value into a place, `value` a place into a value.
  talkreel.histogram = (record) => {
    const totals = record.kept.map((kept, bin) => kept + record.others[bin]);
    const highest = Math.max(1, ...totals);
    const num = totals.length;
    const step = WIDTH / num;
    const chart = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "histogram",
      role: "img", "aria-label": `${record.name}: histogram of kept and other clips`,
    });
    totals.forEach((total, bin) => {
      if (!total) return;
      const scale = (count) => (count ? Math.max(1.2, (count / highest) * (HEIGHT - 4)) : 0);
      const kept = scale(record.kept[bin]);
      const others = scale(record.others[bin]);
      const gap = num > 20 ? 0.8 : 4;
      const place = { x: bin * step + gap / 2, width: step - gap };
      const range = record.edges
        ? `${number(record.edges[bin])} to ${number(record.edges[bin + 1])}` : record.labels[bin];
      chart.append(svg("g", {},
        svg("title", {}, `${range}: ${record.kept[bin]} kept, ${record.others[bin]} not kept`),
        svg("rect", { ...place, y: HEIGHT - kept, height: kept, class: "kept" }),
        svg("rect", { ...place, y: HEIGHT - kept - others, height: others, class: "others" })));
    });
    return chart;
  };

  talkreel.axis = (record) => {
    if (record.labels) {
      return el("div", { class: "axis labels" }, record.labels.map((label) =>
        el("span", { title: label }, label)));
    }
    const first = record.edges[0];
    const last = record.edges[record.edges.length - 1];
    const slack = 1e-4 * (last - first); // edges are rounded
    const low = record.lowest < first - slack ? `≤ ${number(first)}` : number(first);
    const high = record.highest > last + slack ? `≥ ${number(last)}` : number(last);
    return el("div", { class: "axis" }, el("span", {}, low),
      el("span", { class: "unit" }, record.unit), el("span", {}, high));
  };

  talkreel.place = (record, value) => {
    const first = record.edges[0];
    const last = record.edges[record.edges.length - 1];
    return Math.min(1, Math.max(0, (value - first) / (last - first)));
  };

  // One point a value; gaps where a value is null.
  talkreel.curvePath = (xs, ys) => {
    let path = "";
    let isDrawing = false;
    xs.forEach((x, index) => {
      const y = ys[index];
      if (x === null || y === null) {
        isDrawing = false;
        return;
      }
      path += `${isDrawing ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`;
      isDrawing = true;
    });
    return path;
  };

  talkreel.bar = (share, kind) => {
    const bar = svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none",
      "aria-hidden": "true" });
    bar.append(svg("rect", { x: 0, y: 0, width: Math.max(share > 0 ? 0.4 : 0, 100 * share),
      height: 10, class: kind }));
    return bar;
  };
})();
