"use strict";
// The run as a whole: funnel, inputs, work, lineage, recipe, versions, what failed.
(() => {
  const { el, name, table, duration, count, plural, bytes, bar, number, fileName } = talkreel;

  function card(title, ...content) {
    return el("section", { class: "card" }, el("h2", {}, title), content);
  }

  function funnel(run) {
    if (!run.funnel) return null;
    const { in_s: inSeconds, kept_s: kept, lost_s: lost, overlap_s: overlap } = run.funnel;
    const total = Math.max(inSeconds, 1e-9);
    const rows = [["in", inSeconds, "all", ""]];
    const reasons = Object.entries(lost).sort((a, b) => b[1] - a[1]);
    reasons.forEach(([reason, seconds]) => rows.push([reason, seconds, "rejected", "−"]));
    if (overlap > 0.01) rows.push(["several tracks at once", overlap, "all", "+"]);
    rows.push(["kept", kept, "kept", "="]);
    return card("Where the time went", el("table", { class: "funnel" },
      el("tbody", {}, rows.map(([text, seconds, kind, sign]) => el("tr", { class: kind },
        el("td", { class: "sign" }, sign),
        el("th", { scope: "row" }, text),
        el("td", { class: "value" }, duration(seconds)),
        el("td", { class: "value quiet" }, `${(100 * seconds / total).toFixed(1)} %`),
        el("td", { class: "wide" }, bar(seconds / total, kind)))))));
  }

  function inputs(run) {
    if (!run.inputs) return null;
    const { states, without, num_without: numWithout } = run.inputs;
    const line = `${plural(run.inputs.num, "input")} = ${states.done} done + ` +
      `${states.rejected} rejected + ${states.dead} dead; ${bytes(run.inputs.num_bytes)} read`;
    const rows = without.map((row) => [
      name(fileName(row.uri), { title: row.uri }), row.state,
      row.reason || (row.num_clips_found ? "every clip was rejected" : "no clip was found"),
      row.detail || "", `${row.num_clips_kept} of ${row.num_clips_found}`]);
    return card("Inputs", el("p", {}, line), !rows.length ? null : el("details", {},
      el("summary", {}, `${plural(numWithout, "input")} without a kept clip`),
      table(["input", "state", "reason", "detail", "clips kept"], rows),
      numWithout > rows.length
        ? el("p", { class: "quiet" }, `the first ${rows.length}; sources.parquet has all`) : null));
  }

  function stages(run) {
    const entries = Object.entries(run.stage_cpu_s).sort((a, b) => b[1] - a[1]);
    if (!entries.length) return null;
    const all = entries.reduce((sum, [, seconds]) => sum + seconds, 0) || 1;
    return card("CPU time by stage", el("table", { class: "funnel" }, el("tbody", {},
      entries.map(([stage, seconds]) => el("tr", {},
        el("th", { scope: "row" }, stage), el("td", { class: "value" }, duration(seconds)),
        el("td", { class: "value quiet" }, `${(100 * seconds / all).toFixed(1)} %`),
        el("td", { class: "wide" }, bar(seconds / all, "all")))))),
    el("p", { class: "quiet" }, Object.entries(run.work).map(([what, value]) =>
      `${what.replaceAll("_", " ")} ${count(value)}`).join(" · ")));
  }

  function lineage(run) {
    const rows = [];
    if (run.recipe) rows.push(["recipe", `${run.recipe.name}, digest ${run.recipe_digest}`]);
    if (run.began_at) rows.push(["run", `${run.began_at} to ${run.ended_at || "…"}`]);
    if (run.inputs) {
      rows.push(["sources", `${count(run.inputs.num)}, each known by a hash of its content`]);
    }
    rows.push(["clips", `${count(run.clips.num)} measured, ${count(run.clips.num_packed)} packed`]);
    const { dataset } = run;
    if (dataset) {
      const { totals } = dataset;
      rows.push(["dataset", `${plural(totals.num_samples, "sample")} in ` +
        `${plural(totals.num_shards, "shard")}, ${duration(totals.duration_s)}, ` +
        `${bytes(totals.num_bytes)}, packed with recipe digest ${dataset.recipe_digest}`]);
    }
    const isStale = dataset && run.recipe_digest && dataset.recipe_digest !== run.recipe_digest;
    return card("Lineage", el("table", { class: "facts" }, el("tbody", {}, rows.map(([what, text]) =>
      el("tr", {}, el("th", { scope: "row" }, what), el("td", {}, text))))),
    isStale ? el("p", { class: "warning" },
      "The selection has changed since the shards were packed: call curate pack.") : null,
    !dataset ? null : el("details", {}, el("summary", {}, "Shards"),
      table(["shard", "samples", "length", "bytes", "sha256"], dataset.shards.map((shard) => [
        shard.path, count(shard.num_samples), duration(shard.duration_s), bytes(shard.num_bytes),
        el("code", { title: shard.sha256 }, shard.sha256.slice(0, 16))]))));
  }

  function recipe(run) {
    if (!run.recipe) return null;
    const { name: title, description, gates, ...tables } = run.recipe;
    const limits = run.gates.map((gate) => [el("code", {}, gate.field), gate.bound,
      number(Array.isArray(gate.limit) ? gate.limit.join(", ") : gate.limit)]);
    const settings = Object.entries(tables).filter(([, value]) => typeof value === "object");
    return card(`Recipe ${title}`, el("p", {}, description || ""),
      el("details", {}, el("summary", {}, plural(run.gates.length, "limit")),
        table(["measurement", "bound", "limit"], limits)),
      el("details", {}, el("summary", {}, "Settings of the stages"),
        table(["table", "settings"], settings.map(([stage, values]) => [stage,
          el("code", {}, Object.entries(values).map(([key, value]) =>
            `${key} = ${JSON.stringify(value)}`).join(", "))]))));
  }

  function versions(run) {
    const entries = Object.entries(run.versions);
    if (!entries.length) return null;
    return card("Versions", el("p", {}, entries.map(([what, version]) =>
      el("span", { class: "tag" }, `${what} ${version}`))));
  }

  function dead(run) {
    if (!run.is_run) return null;
    if (!run.dead.num) return card("Dead letters", el("p", { class: "quiet" }, "None."));
    return card("Dead letters", run.dead.letters.map((letter) => el("details", {},
      el("summary", {}, name(fileName(letter.uri)), ` ${letter.stage}: ${letter.cause}`),
      el("p", {}, letter.message, ` (${plural(letter.attempts, "attempt")}, `, name(letter.uri), ")"),
      letter.traceback ? el("pre", {}, letter.traceback) : null)));
  }

  talkreel.figures = (run) => {
    const { kept, rejected, pending } = run.clips.states;
    const figure = (value, text, kind) => el("div", { class: `figure ${kind || ""}` },
      el("strong", {}, value), el("span", {}, text));
    const hours = run.funnel ? run.funnel.in_s : null;
    return el("div", { class: "figures" },
      hours === null ? null : figure(duration(hours), "of video in"),
      figure(duration(kept.seconds), `kept${hours ? ` (${Math.round(100 * kept.seconds / hours)} %)` : ""}`, "kept"),
      figure(count(kept.num), "clips kept", "kept"),
      figure(count(rejected.num), "clips rejected", "rejected"),
      pending.num ? figure(count(pending.num), "clips pending") : null);
  };

  talkreel.runView = (run) => el("div", { class: "columns" },
    el("div", {}, funnel(run), stages(run)),
    el("div", {}, inputs(run), lineage(run), recipe(run), dead(run), versions(run)));

})();
