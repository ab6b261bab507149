"use strict";
// One clip: its picture and its sound kept in step, and the curves that follow them.
//
// A sample's video has no sound track; its sound is a file of its own. The sound runs by its own
// clock, which is never bent; the picture is steered to it: by a little speed where they are a few
// frames apart, by a jump where they are further.
(() => {
  const { el, svg, name, number, clock, curvePath, gateText, limitText, duration } = talkreel;
  const JUMP_S = 0.25;
  const SLACK_S = 0.012;
  const MAX_SPEED_CHANGE = 0.08;
  const OFFSET_STEP_MS = 40;
  const LANE = { width: 1000, wave: 72, mouth: 48 };

  class Player {
    constructor(api) {
      this.api = api;
      this.node = el("article", { class: "detail", "aria-label": "Clip" });
      this.speed = 1;
      this.empty();
      const turn = () => {
        this.follow();
        requestAnimationFrame(turn);
      };
      requestAnimationFrame(turn);
    }

    empty() {
      this.clipId = null;
      this.video = null;
      this.audio = null;
      this.node.replaceChildren(el("p", { class: "quiet hint" },
        "Pick a clip: j and k step through the list, space plays, ? tells all keys."));
    }

    async show(row) {
      if (this.clipId === row.clip_id) return;
      this.stop();
      this.clipId = row.clip_id;
      this.heardMs = 0;
      const path = `media/${row.clip_id}`;
      this.stage = el("div", { class: "stage" });
      this.video = null;
      if (row.is_packed) {
        this.video = el("video", { src: `${path}.mp4`, muted: true, playsinline: true,
          preload: "auto", "aria-label": "Picture of the clip", onclick: () => this.toggle() });
        this.video.muted = true;
        this.stage.append(this.video);
      } else {
        this.stage.append(el("img", { src: `thumbnails/${row.clip_id}.jpg`, alt: "One frame" }),
          el("p", { class: "note" }, "Not packed: one frame, and the sound as it was found."));
      }
      this.audio = el("audio", { src: `${path}.${row.is_packed ? "flac" : "wav"}`, preload: "auto" });
      this.audio.addEventListener("error", () => { this.isMute = true; });
      this.isMute = false;
      this.playButton = el("button", { type: "button", class: "play", "aria-label": "Play",
        onclick: () => this.toggle() }, "▶");
      this.time = el("span", { class: "time" });
      this.lanes = el("div", { class: "lanes" });
      this.words = el("p", { class: "words" });
      this.side = el("div", { class: "side" });
      this.facts = el("div", { class: "facts" });
      this.speedButton = el("button", { type: "button", class: "small",
        "aria-label": "Playback speed", onclick: () => this.slower() }, `${this.speed}×`);
      this.node.replaceChildren(
        el("header", {}, el("h2", {}, name(talkreel.fileName(row.uri), { title: row.uri })),
          el("span", { class: `badge ${row.state}` }, row.state)),
        el("div", { class: "upper" }, this.stage, this.side),
        el("div", { class: "row controls" }, this.playButton, this.time, this.speedButton,
          this.audio),
        this.lanes, this.words, this.facts);
      this.series = null;
      const { clip_id: clipId } = row;
      const [about, series] = await Promise.allSettled([
        this.api.get(`api/clips/${clipId}`), this.api.get(`api/clips/${clipId}/series`)]);
      if (this.clipId !== clipId) return;
      if (about.status === "fulfilled") this.tell(about.value);
      else this.facts.append(el("p", { class: "warning" }, about.reason.message));
      if (series.status === "fulfilled") this.draw(series.value);
      else this.lanes.append(el("p", { class: "warning" }, series.reason.message));
    }

    // The master clock: the sound if it plays, else the picture.
    get master() {
      return this.audio && !this.isMute ? this.audio : this.video;
    }

    get seconds() {
      const { master } = this;
      if (!master) return 0;
      return master === this.audio ? master.currentTime - this.heardMs / 1000 : master.currentTime;
    }

    get length() {
      return this.series ? this.series.duration_s : (this.video && this.video.duration) || 0;
    }

    toggle() {
      if (!this.master) return;
      if (this.master.paused) this.play();
      else this.pause();
    }

    async play() {
      if (this.length && this.seconds >= this.length - 0.05) this.seek(0);
      const both = [this.master, this.video].filter(Boolean);
      await Promise.allSettled(both.map((media) => media.play()));
    }

    pause() {
      [this.audio, this.video].filter(Boolean).forEach((media) => media.pause());
    }

    stop() {
      this.pause();
      [this.audio, this.video].filter(Boolean).forEach((media) => {
        media.removeAttribute("src");
        media.load();
      });
    }

    seek(seconds) {
      const wanted = Math.min(Math.max(0, seconds), Math.max(0, this.length - 0.01));
      if (this.audio) this.audio.currentTime = Math.max(0, wanted + this.heardMs / 1000);
      if (this.video) this.video.currentTime = wanted;
    }

    slower() {
      this.speed = { 1: 0.5, 0.5: 0.25, 0.25: 1 }[this.speed];
      this.speedButton.textContent = `${this.speed}×`;
    }

    // Hears the sound this much later than the run decided; for judging the offset by ear.
    hear(milliseconds) {
      const seconds = this.seconds;
      this.heardMs = Math.max(-600, Math.min(600, milliseconds));
      this.seek(seconds);
      if (this.offsetMark) this.markOffset();
    }

    follow() {
      if (!this.master) return;
      const { audio, video, seconds } = this;
      if (audio) audio.playbackRate = this.speed;
      if (video && this.master === audio) {
        if (audio.ended || (audio.paused && !video.paused)) video.pause();
        const drift = video.currentTime - seconds;
        this.node.dataset.driftMs = Math.round(1000 * drift);
        if (!audio.paused && !video.paused && !video.seeking) {
          if (Math.abs(drift) > JUMP_S) video.currentTime = Math.max(0, seconds);
          const change = Math.abs(drift) < SLACK_S ? 0
            : Math.max(-MAX_SPEED_CHANGE, Math.min(MAX_SPEED_CHANGE, drift));
          video.playbackRate = this.speed * (1 - change);
        }
        if (!audio.paused && video.paused && !video.ended) video.play().catch(() => {});
      } else if (video) {
        video.playbackRate = this.speed;
      }
      const isPlaying = !this.master.paused && !this.master.ended;
      if (this.playButton.dataset.playing !== String(isPlaying)) {
        this.playButton.dataset.playing = isPlaying;
        this.playButton.textContent = isPlaying ? "❚❚" : "▶";
        this.playButton.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
      }
      const told = `${clock(seconds)} / ${clock(this.length)}`;
      if (this.time.textContent !== told) this.time.textContent = told;
      if (this.series) this.moveCursor(seconds);
    }

    moveCursor(seconds) {
      const share = this.length ? Math.min(1, Math.max(0, seconds / this.length)) : 0;
      this.cursor.style.left = `${100 * share}%`;
      this.lanes.setAttribute("aria-valuenow", seconds.toFixed(2));
      for (const word of this.wordNodes) {
        const isSaid = seconds >= word.start && seconds < word.end;
        if (isSaid !== word.isSaid) {
          word.isSaid = isSaid;
          word.nodes.forEach((node) => node.classList.toggle("said", isSaid));
        }
      }
      if (this.faceBox) {
        const { times_s: times, boxes } = this.series;
        let nearest = 0;
        while (nearest + 1 < times.length && times[nearest + 1] <= seconds) nearest += 1;
        const box = boxes[nearest];
        this.faceBox.hidden = !box || box[0] === null;
        if (!this.faceBox.hidden) this.faceBox.place(box);
      }
    }

    draw(series) {
      this.series = series;
      const { width, wave, mouth } = LANE;
      const lane = (height, label, ...marks) => el("div", { class: "lane" },
        el("span", { class: "label" }, label),
        svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
          class: "curve", height, "aria-hidden": "true" }, marks));
      const at = (seconds) => (seconds / series.duration_s) * width;
      let outline = "";
      const { peaks } = series;
      const loudest = Math.max(8, ...peaks.map(([low, high]) => Math.max(-low, high)));
      peaks.forEach(([low, high], index) => {
        const x = at((index / peaks.length) * series.sound_s).toFixed(1);
        const y = (value) => ((wave / 2) * (1 - (0.95 * value) / loudest)).toFixed(1);
        outline += `M${x} ${y(high)}V${y(low - 0.6)}`;
      });
      this.cursor = el("div", { class: "cursor" });
      const openings = series.mouth_opening;
      const widest = Math.max(0.05, ...openings.filter((value) => value !== null));
      this.lanes.replaceChildren(
        lane(wave, "sound", svg("path", { d: outline, class: "wave" })),
        lane(mouth, "mouth opening", svg("path", { class: "mouth",
          d: curvePath(series.times_s.map((time) => (time === null ? null : at(time))),
            openings.map((value) => (value === null ? null : mouth * (1 - 0.92 * (value / widest))))) })),
        this.cursor);
      this.wordNodes = series.words.map(([text, start, end]) => {
        const block = el("span", { class: "word", title: text }, name(text));
        block.style.left = `${(100 * start) / series.duration_s}%`;
        block.style.width = `${(100 * (end - start)) / series.duration_s}%`;
        const inline = el("button", { type: "button", class: "word", onclick: () => this.seek(start) },
          name(text));
        return { start, end, nodes: [block, inline] };
      });
      if (this.wordNodes.length) {
        this.lanes.append(el("div", { class: "lane spoken", "aria-hidden": "true" },
          this.wordNodes.map((word) => word.nodes[0])));
        this.words.replaceChildren(...this.wordNodes.map((word) => word.nodes[1]));
      }
      Object.entries({ role: "slider", tabindex: "0", "aria-label": "Time in the clip",
        "aria-valuemin": "0", "aria-valuemax": series.duration_s.toFixed(2) }).forEach(([key, value]) =>
        this.lanes.setAttribute(key, value));
      const jump = (event) => {
        const box = this.lanes.getBoundingClientRect();
        this.seek(((event.clientX - box.left) / box.width) * series.duration_s);
      };
      this.lanes.onpointerdown = (event) => {
        this.lanes.setPointerCapture(event.pointerId);
        jump(event);
      };
      this.lanes.onpointermove = (event) => {
        if (this.lanes.hasPointerCapture(event.pointerId)) jump(event);
      };
      this.lanes.onkeydown = (event) => {
        const by = { ArrowLeft: -0.04, ArrowRight: 0.04, PageDown: 1, PageUp: -1 }[event.key];
        if (!by) return;
        this.seek(this.seconds + by * (event.shiftKey ? 10 : 1));
        event.preventDefault();
        event.stopPropagation();
      };
      if (series.sync) this.side.prepend(this.syncChart(series.sync));
      this.addFaceBox();
    }

    addFaceBox() {
      const picture = this.stage.querySelector("video, img");
      const box = el("div", { class: "face", hidden: true });
      box.place = ([left, top, right, bottom]) => {
        const width = picture.videoWidth || this.pictureSize?.[0];
        const height = picture.videoHeight || this.pictureSize?.[1];
        if (!width || !height) return;
        const shown = Math.min(picture.clientWidth / width, picture.clientHeight / height);
        const x = picture.offsetLeft + (picture.clientWidth - width * shown) / 2;
        const y = picture.offsetTop + (picture.clientHeight - height * shown) / 2;
        Object.assign(box.style, { left: `${x + left * shown}px`, top: `${y + top * shown}px`,
          width: `${(right - left) * shown}px`, height: `${(bottom - top) * shown}px` });
      };
      this.stage.append(box);
      this.faceBox = box;
    }

    // Score over offset; the mark says at which offset the sound is heard and can be moved.
    syncChart(sync) {
      const [width, height] = [320, 110];
      const { offsets_ms: offsets, scores } = sync;
      const [first, last] = [offsets[0], offsets[offsets.length - 1]];
      const x = (offset) => ((offset - first) / (last - first)) * width;
      const [low, high] = [Math.min(...scores, 0), Math.max(...scores, 0.2)];
      const y = (score) => height - 6 - ((score - low) / (high - low)) * (height - 14);
      const line = (offset, kind) => svg("line", { x1: x(offset), x2: x(offset), y1: 0, y2: height, class: kind });
      const limit = sync.max_abs_offset_ms;
      const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
        class: "sync", "aria-hidden": "true" },
      limit === null ? [] : [-limit, limit].filter((o) => o > first && o < last).map((o) => line(o, "bound")),
      line(0, "zero"), sync.peak_ms === null ? null : line(sync.peak_ms, "peak"),
      svg("path", { d: curvePath(offsets.map(x), scores.map(y)), class: "score" }));
      this.offsetMark = el("div", { class: "cursor offset" });
      this.offsetText = el("output", {});
      this.syncScale = { first, last, base: -this.series.shifted_by_ms };
      const chartBox = el("div", { class: "chart", role: "slider", tabindex: "0",
        "aria-label": "Offset at which the sound is heard", "aria-valuemin": first,
        "aria-valuemax": last }, chart, this.offsetMark);
      this.syncBox = chartBox;
      const move = (event) => {
        const box = chartBox.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
        this.hear(first + share * (last - first) - this.syncScale.base);
      };
      chartBox.onpointerdown = (event) => {
        chartBox.setPointerCapture(event.pointerId);
        move(event);
      };
      chartBox.onpointermove = (event) => {
        if (chartBox.hasPointerCapture(event.pointerId)) move(event);
      };
      chartBox.onkeydown = (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by && event.key !== "Home") return;
        this.hear(by ? this.heardMs + by * OFFSET_STEP_MS : 0);
        event.preventDefault();
        event.stopPropagation();
      };
      this.markOffset();
      return el("section", { class: "card small" }, el("h3", {}, "Sync score over offset"),
        chartBox, el("div", { class: "axis" }, el("span", {}, number(first)),
          el("span", { class: "unit" }, "ms, + = audio later"), el("span", {}, number(last))),
        el("p", { class: "quiet" }, this.offsetText));
    }

    markOffset() {
      const { first, last, base } = this.syncScale;
      const offset = base + this.heardMs;
      this.offsetMark.style.left = `${(100 * (offset - first)) / (last - first)}%`;
      this.syncBox.setAttribute("aria-valuenow", Math.round(offset));
      const moved = Math.round(this.heardMs);
      const asIs = this.series.shifted_by_ms ? "as packed, corrected by the run" : "as in the source";
      this.offsetText.textContent = moved
        ? `heard ${Math.abs(moved)} ms ${moved > 0 ? "early" : "late"}, for an offset of ${Math.round(offset)} ms`
        : `heard ${asIs}; drag to hear another offset`;
    }

    tell(about) {
      this.pictureSize = ["probe.width_px", "probe.height_px"].map((wanted) =>
        about.measurements.find((item) => item.name === wanted)?.value);
      const { verdict, span, packed } = about;
      const why = verdict.failed_gates.map((gate) => el("li", {}, el("b", {}, gate.reason),
        ` ${gate.field} ${gateText(gate)}`));
      this.side.append(el("section", { class: "card small" },
        why.length ? [el("h3", {}, "Rejected for"), el("ul", {}, why)] : [],
        about.caption || about.transcript ? el("h3", {}, "Caption") : null,
        about.caption ? el("p", { class: "caption" }, name(about.caption, { title: null })) : null,
        about.transcript && !about.transcript.words.length
          ? el("p", { class: "caption" }, "“", name(about.transcript.text, { title: null }), "”") : null));
      const groups = new Map();
      about.measurements.filter((item) => item.is_measured).forEach((item) => {
        if (!groups.has(item.stage)) groups.set(item.stage, []);
        groups.get(item.stage).push(item);
      });
      const line = (item) => {
        const failed = item.gates.some((gate) => gate.passes === false);
        const limits = item.gates.map(limitText).join(", ");
        const mark = !item.gates.length ? "" : failed ? "✗" : "✓";
        return el("tr", { class: failed ? "failed" : null, title: item.meaning },
          el("th", { scope: "row" }, item.name.slice(item.stage.length + 1)),
          el("td", { class: "value" }, number(item.value), item.value === null ? "" : ` ${item.unit}`),
          el("td", { class: "quiet allowed" }, limits), el("td", { class: "mark" }, mark));
      };
      this.facts.replaceChildren(
        el("div", { class: "stages" }, [...groups].map(([stage, items]) =>
          el("section", { class: "card small" }, el("h3", {}, stage),
            el("table", {}, el("tbody", {}, items.filter((item) => item.name !== "caption.text").map(line)))))),
        el("section", { class: "card small" }, el("h3", {}, "Where it comes from"),
          el("table", { class: "facts" }, el("tbody", {}, [
            ["source", name(about.uri)], ["source id", about.lineage.source_id],
            ["clip id", about.clip_id],
            ["span", `${span.start_s.toFixed(3)} s, ${duration(span.duration_s)} ` +
              `(pts ${span.start_pts} to ${span.end_pts}, time base ${span.time_base}), track ${about.track}`],
            packed ? ["shard", name(packed.shard)] : null,
            packed ? ["bytes", packed.members.map((part) =>
              `${part.ext} ${part.offset}+${part.size}`).join(", ")] : null,
            ["recipe digest", about.lineage.recipe_digest],
          ].filter(Boolean).map(([what, text]) =>
            el("tr", {}, el("th", { scope: "row" }, what), el("td", {}, text)))))));
    }
  }

  talkreel.Player = Player;
})();
