// One boot over time: its stages as bands, its files as bars below, and where nothing was asked for as gaps.

import { h, mark, say } from "./parts.js";
import { RESULTS, STAGES, STAGE_WORDS, count, rate, seconds, size, took } from "./words.js";

const STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];
const TICKS = 8;
const GAP_S = 1; // what is longer, and a visible part of the whole, is marked as a gap
const GAP_SHARE = 0.04;

// A time on the axis, whose steps are what they are.
function onAxis(tick, step) {
  if (step >= 1) return tick < 60 ? `${Math.round(tick)} s` : took(Math.round(tick));
  return `${tick.toFixed(step < 0.1 ? 2 : 1)} s`;
}

const percent = (part) => `${(Math.max(0, Math.min(1, part)) * 100).toFixed(3)}%`;

// The stages with what they lasted: from their first sign to the next one's.
function bands(boot, end) {
  const start = seconds(boot.started);
  const signs = boot.stages.map((stage) => ({ ...stage, at: seconds(stage.first) - start, to: seconds(stage.last) - start }));
  signs.sort((a, b) => a.at - b.at);
  return signs.map((sign, place) => ({ ...sign, until: signs[place + 1]?.at ?? Math.max(sign.to, boot.ended ? sign.to : end) }));
}

function gapsBetween(files, from, end) {
  const gaps = [];
  let busy = from;
  for (const file of [...files].sort((a, b) => a.at - b.at)) {
    if (file.at - busy > Math.max(GAP_S, end * GAP_SHARE)) gaps.push([busy, file.at]);
    busy = Math.max(busy, file.at + (file.seconds ?? end));
  }
  return gaps;
}

// A background of hard stops: [from, to, colour] parts of a whole, in order and apart.
function stripes(parts) {
  const stops = parts.flatMap(([from, to, colour]) => [
    `transparent ${percent(from)}`,
    `${colour} ${percent(from)} ${percent(to)}`,
    `transparent ${percent(to)}`,
  ]);
  return `linear-gradient(to right, ${stops.join(", ") || "transparent, transparent"})`;
}

function fileRow() {
  const name = h("span", { class: "file-name" });
  const what = h("span", { class: "file-what" });
  const bar = h("i", { class: "file-bar" });
  const track = h("span", { class: "track", "aria-hidden": "true" }, bar);
  return { element: h("li", { class: "file" }, name, track, what), name, what, bar };
}

function fillFile(one, file, end) {
  const lasted = file.seconds ?? Math.max(0, end - file.at);
  say(one.name, file.name);
  mark(one.element, "data-result", file.result);
  mark(one.element, "data-stage", file.stage);
  mark(one.element, "data-resent", String(file.retransmissions > 0));
  one.bar.style.left = percent(file.at / end);
  one.bar.style.width = percent(lasted / end);
  const arrived = file.result === "ok" ? file.bytes : file.sent_bytes;
  const words = [RESULTS[file.result] ?? file.result];
  if (file.result === "ok") words.push(size(file.bytes), lasted ? took(lasted) : "", rate(file.bytes, lasted));
  else if (file.result === "running") words.push(size(file.bytes), took(lasted));
  else if (file.result !== "missing" && file.result !== "probed" && file.bytes) words.push(`${size(arrived)} of ${size(file.bytes)}`);
  if (file.by) words.push(file.by.toUpperCase());
  if (file.retransmissions) words.push(`${file.retransmissions} sent again`);
  say(one.what, words.filter(Boolean).join(" · "));
  one.element.title = `${file.name}: began ${took(file.at) || "0 s"} into the boot`;
}

export class Waterfall {
  element = h("div", { class: "waterfall" });
  #stages;
  #rows = [];
  #withMissing = false;
  #last = null;
  #parts = {
    axis: h("div", { class: "axis", "aria-hidden": "true" }),
    gaps: h("div", { class: "gaps", "aria-hidden": "true" }),
    bands: h("div", { class: "bands", "aria-hidden": "true" }),
    legend: h("ol", { class: "legend" }),
    files: h("ol", { class: "files" }),
    note: h("p", { class: "note" }),
    missing: h("input", { type: "checkbox", id: "missing" }),
    missingWords: h("span"),
  };

  constructor(stages = STAGES) {
    this.#stages = stages;
    const { axis, bands: strip, files, gaps, legend, missing, missingWords, note } = this.#parts;
    missing.addEventListener("change", () => {
      this.#withMissing = missing.checked;
      if (this.#last) this.show(...this.#last);
    });
    this.#parts.toggle = h("label", { class: "toggle", hidden: true }, missing, missingWords);
    const chart = h("div", { class: "chart" }, strip, axis, gaps, files);
    this.element.append(legend, this.#parts.toggle, chart, note);
  }

  // `detail` holds the files of the boot, `now` is the time by the daemon's clock.
  show(boot, detail, now) {
    this.#last = [boot, detail, now];
    const start = seconds(boot.started);
    const running = boot.state === "booting" && !boot.ended;
    const files = detail?.files ?? [];
    const ends = [0.001, ...boot.stages.map((stage) => seconds(stage.last) - start)];
    ends.push(...files.map((file) => file.at + (file.seconds ?? 0)));
    if (running) ends.push(now - start);
    const end = Math.max(...ends);
    const spans = bands(boot, end);
    this.#bands(spans, end);
    this.#legend(boot, spans, end);
    this.#files(files, end);
    this.#axis(files, spans, end);
    this.#note(detail, files);
  }

  #bands(spans, end) {
    const { bands: strip } = this.#parts;
    while (strip.children.length > spans.length) strip.lastChild.remove();
    while (strip.children.length < spans.length) strip.append(h("span", { class: "band" }, h("span")));
    spans.forEach((span, place) => {
      const element = strip.children[place];
      mark(element, "data-stage", span.name);
      element.style.left = percent(span.at / end);
      element.style.width = percent((span.until - span.at) / end);
      say(element.firstChild, span.name);
    });
  }

  #legend(boot, spans, end) {
    const { legend } = this.#parts;
    const stages = this.#stages;
    const here = Math.max(0, ...spans.map((span) => stages.indexOf(span.name)));
    const rows = stages.map((name, place) => {
      const span = spans.find((one) => one.name === name);
      if (span && name === "online") return [name, "done", `after ${took(span.at) || "0 s"}`];
      if (span && place === here && boot.state === "stalled") return [name, "stuck", `stalled, ${took(span.at) || "0 s"} in`];
      if (span) return [name, "done", [took(span.until - span.at), span.bytes ? size(span.bytes) : ""].filter(Boolean).join(" · ")];
      return [name, "none", place < here ? "skipped" : "–"];
    });
    while (legend.children.length < rows.length) {
      legend.append(h("li", {}, h("i", { "aria-hidden": "true" }), h("b"), h("span")));
    }
    rows.forEach(([name, state, words], place) => {
      const element = legend.children[place];
      mark(element, "data-stage", name);
      mark(element, "data-state", state);
      element.title = STAGE_WORDS[name];
      say(element.children[1], name);
      say(element.children[2], words);
    });
  }

  #files(files, end) {
    const { files: list, missingWords, toggle } = this.#parts;
    const missing = files.filter((file) => file.result === "missing").length;
    toggle.hidden = missing === 0;
    say(missingWords, `Show ${count(missing, "name")} asked for and not there`);
    const shown = files.filter((file) => this.#withMissing || file.result !== "missing").sort((a, b) => a.at - b.at);
    while (this.#rows.length > shown.length) this.#rows.pop().element.remove();
    shown.forEach((file, place) => {
      let one = this.#rows[place];
      if (!one) {
        this.#rows.push((one = fileRow()));
        list.append(one.element);
      }
      fillFile(one, file, end);
    });
  }

  #axis(files, spans, end) {
    const { axis, gaps: strip } = this.#parts;
    const step = STEPS.find((one) => end / one <= TICKS) ?? end / TICKS;
    const ticks = [];
    for (let tick = 0; tick <= end * 1.0001; tick += step) ticks.push(tick);
    const gaps = files.length ? gapsBetween(files, spans[0]?.at ?? 0, end) : [];
    const labels = ticks.map((tick) => [tick, onAxis(tick, step)]);
    while (axis.children.length > labels.length) axis.lastChild.remove();
    while (axis.children.length < labels.length) axis.append(h("span"));
    labels.forEach(([where, words], place) => {
      const element = axis.children[place];
      mark(element, "class", where === 0 ? "first" : where / end > 0.93 ? "last" : "");
      element.style.left = percent(where / end);
      say(element, where === 0 ? "0 s" : words);
    });
    strip.hidden = gaps.length === 0;
    while (strip.children.length > gaps.length) strip.lastChild.remove();
    while (strip.children.length < gaps.length) strip.append(h("span", {}, h("span")));
    gaps.forEach(([from, to], place) => {
      const element = strip.children[place];
      element.style.left = percent(from / end);
      element.style.width = percent((to - from) / end);
      say(element.firstChild, `quiet ${took(to - from)}`);
    });
    const chart = axis.parentElement;
    const lines = ticks.slice(1).map((tick) => [tick / end - 0.0005, tick / end + 0.0005, "var(--line)"]);
    chart.style.setProperty("--ticks", stripes(lines));
    chart.style.setProperty("--gaps", stripes(gaps.map(([from, to]) => [from / end, to / end, "var(--gap)"])));
  }

  #note(detail, files) {
    const { note } = this.#parts;
    const more = detail?.more_files;
    let words = "";
    if (detail && files.length === 0) words = detail.files_lost ? "The files of this boot are no longer kept." : "No file was asked for.";
    if (more?.files) words = `And ${count(more.files, "more file")}, ${size(more.bytes)}.`;
    note.hidden = !words;
    say(note, words);
  }
}
