// One Pi: what it is, why it stands if it does, the boot as a waterfall, the boots before, and what its bootloader said.

import { badge, command, h, mark, say, sentence, setBadge } from "./parts.js";
import { Waterfall } from "./waterfall.js";
import { addLine, ago, at, count, date, imageOf, nameOf, seconds, size, STAGES, took } from "./words.js";

const AGAIN_MS = 700; // between two looks at a Pi that changes all the time
const GROW_MS = 500;
const LOOK_MS = 3000;
const NAMES = 24;

function boots(serial) {
  const element = h("ol", { class: "boots", role: "list" });
  let before = "";
  const show = (all, shown, now) => {
    const key = JSON.stringify([all.map((boot) => [boot.number, boot.state, boot.ended, boot.started]), shown]);
    if (key === before) return;
    before = key;
    const focused = document.activeElement?.closest?.(".boots a")?.getAttribute("href");
    const last = all.at(-1)?.number;
    const longest = Math.max(1, ...all.map((boot) => boot.seconds ?? 0));
    element.replaceChildren(...all.toReversed().map((boot) => item(boot, shown, last, longest, now)));
    if (focused) element.querySelector(`a[href="${focused}"]`)?.focus({ preventScroll: true });
  };
  const item = (boot, shown, last, longest, now) => {
    const href = boot.number === last ? `#/pi/${serial}` : `#/pi/${serial}/boot/${boot.number}`;
    const link = h("a", { href, "aria-current": boot.number === shown ? "true" : null }, `Boot ${boot.number}`);
    const state = badge();
    const brokenOff = boot.ended && boot.state === "booting";
    setBadge(state, boot.state);
    if (brokenOff) {
      mark(state, "data-state", "unseen");
      say(state, "Broken off");
    }
    const length = h("i", { class: "length", "aria-hidden": "true" });
    const start = seconds(boot.started);
    const signs = boot.stages.map((stage) => [stage.name, seconds(stage.first) - start]).sort((a, b) => a[1] - b[1]);
    const whole = boot.seconds ?? Math.max(...boot.stages.map((stage) => seconds(stage.last) - start));
    length.style.width = `${Math.min(100, (100 * whole) / longest).toFixed(1)}%`;
    signs.forEach(([name, from], place) => {
      const part = h("i", { "data-stage": name });
      part.style.flexGrow = String(Math.max(0, (signs[place + 1]?.[1] ?? whole) - from));
      length.append(part);
    });
    const words = [
      boot.seconds != null ? took(boot.seconds) : boot.stages.at(-1)?.name,
      boot.bytes ? size(boot.bytes) : "",
      boot.generation != null ? `gen ${boot.generation}` : "",
      boot.attempts > 1 ? `attempt ${boot.attempts}` : "",
      boot.retransmissions ? `${boot.retransmissions} sent again` : "",
    ];
    return h(
      "li",
      {},
      h("span", { class: "boot-name" }, link, " ", h("span", { class: "when" }, date(start, now))),
      state,
      h("span", { class: "boot-what" }, words.filter(Boolean).join(" · ")),
      h("span", { class: "lengths" }, length),
    );
  };
  return { element, show };
}

// What was seen, by its key in the API: how it is called, and how it is put.
const EVIDENCE = {
  missing: ["Not there (some never are)", (names) => (names.length > NAMES ? `${names.slice(0, NAMES).join(", ")} and ${names.length - NAMES} more` : names.join(", "))],
  refused: ["Refused", ({ name, why }) => `${name}: ${why}`],
  broken: ["Broken off", (file) => `${file.name}, ${size(file.sent_bytes)} of ${size(file.bytes)} arrived`],
  unheard: ["Answered in vain", ({ name, times }) => `${name}, ${count(times, "time")}`],
  late: ["Came late", (file) => `${file.name}, after ${took(file.seconds)}`],
  seed: ["Seed not given", ({ path, status }) => `${path}: HTTP ${status}`],
  mounts: ["Mounts the root of", ({ serial, address }) => `${serial}, from ${address}`],
  server: ["Told to boot from", String],
  asked_at: ["Asked at", String],
  giver: ["Address given by", String],
  empty: ["Empty", String],
  dropped: ["Dropped", String],
};

function evidence(found) {
  const keys = Object.keys(EVIDENCE).filter((key) => found?.[key]);
  return keys.map((key) => [EVIDENCE[key][0], EVIDENCE[key][1](found[key])]);
}

export class PiPage {
  title = "";
  #store;
  #serial;
  #wanted; // the number of a boot, null for the latest
  #told = null; // what the API said of this Pi
  #past = null; // what it said of the boot that is wanted
  #timers = {};
  #asking = false;
  #closed = false;
  #parts;

  constructor(store, root, serial, number) {
    this.#store = store;
    this.#serial = serial;
    this.#wanted = number;
    this.title = serial;
    this.#build(root);
    this.changed(null);
    this.#timers.grow = setInterval(() => this.#show(), GROW_MS);
    // What its bootloader says is no news of the stream's.
    this.#timers.look = setInterval(() => this.#told && this.#told.state !== "online" && !document.hidden && this.#look(), LOOK_MS);
  }

  close() {
    this.#closed = true;
    clearInterval(this.#timers.grow);
    clearInterval(this.#timers.look);
    clearTimeout(this.#timers.again);
  }

  changed(serials) {
    if (serials !== null && !serials.includes(this.#serial)) return;
    this.#show();
    this.#look();
  }

  #look() {
    if (!this.#timers.again && !this.#asking) this.#ask();
  }

  async #ask() {
    this.#asking = true;
    const path = `api/pis/${this.#serial}`;
    try {
      if (this.#wanted !== null && this.#past === null) this.#past = await this.#store.ask(`${path}/boots/${this.#wanted}`);
      const before = this.#store.pis.get(this.#serial);
      this.#told = await this.#store.ask(path);
      this.#parts.fault.hidden = true;
      this.#timers.again = setTimeout(() => {
        this.#timers.again = 0;
        if (this.#store.pis.get(this.#serial) !== before) this.#ask();
      }, AGAIN_MS);
    } catch (error) {
      this.#parts.fault.hidden = false;
      say(this.#parts.fault, error instanceof TypeError ? "No answer from the daemon." : `${error.message}`);
    }
    this.#asking = false;
    if (!this.#closed) this.#show();
  }

  #build(root) {
    const facts = new Map(
      ["Serial", "Model", "MAC", "Address", "Image", "Last boot", "Took"].map((label) => [label, { term: h("dt", {}, label), text: h("dd") }]),
    );
    const parts = {
      name: h("h1", { tabindex: "-1" }, this.#serial),
      badge: badge(),
      facts,
      fault: h("p", { class: "card fault", role: "status", hidden: true }),
      stall: h("section", { class: "card stall", "aria-labelledby": "stall", hidden: true }),
      stranger: h("section", { class: "card strangers", "aria-labelledby": "stranger", hidden: true }),
      head: h("h2", { id: "boot" }, "Boot"),
      sub: h("p", { class: "sub" }),
      waterfall: new Waterfall(),
      boots: boots(this.#serial),
      log: h("section", { class: "card log", "aria-labelledby": "log", hidden: true }, h("h2", { id: "log" }, "Bootloader log"), h("pre", { tabindex: "0" })),
    };
    parts.warnings = h("section", { class: "card warnings", "aria-labelledby": "warnings", hidden: true });
    parts.line = command("", `for ${this.#serial}`);
    parts.stranger.append(
      h("h2", { id: "stranger" }, "Not in the fleet"),
      h("p", {}, "Seen here, and in no fleet.toml. To give it trees of its own, made from an image:"),
      parts.line,
    );
    parts.boot = h("section", { class: "card boot", "aria-labelledby": "boot", hidden: true }, parts.head, parts.sub, parts.waterfall.element);
    parts.past = h("section", { class: "card", "aria-labelledby": "past", hidden: true }, h("h2", { id: "past" }, "Boots"), parts.boots.element);
    parts.never = h("p", { class: "card", hidden: true }, "No boot of it was seen yet.");
    this.#parts = parts;
    root.replaceChildren(
      h("nav", { class: "back", "aria-label": "Breadcrumb" }, h("a", { href: "#/" }, "All Pis")),
      h("div", { class: "who" }, parts.name, parts.badge),
      h("dl", { class: "facts" }, ...[...facts.values()].map((one) => h("div", {}, one.term, one.text))),
      parts.fault,
      parts.stall,
      parts.warnings,
      parts.stranger,
      parts.never,
      parts.boot,
      parts.past,
      parts.log,
      h("p", { class: "raw" }, h("a", { href: `api/pis/${this.#serial}` }, "This Pi as JSON")),
    );
  }

  #show() {
    const pi = this.#store.pis.get(this.#serial) ?? this.#told;
    const parts = this.#parts;
    if (!pi) return;
    const now = this.#store.now();
    const boot = pi.boot;
    this.title = nameOf(pi);
    say(parts.name, nameOf(pi));
    setBadge(parts.badge, pi.state);
    const running = boot && pi.state === "booting" && !boot.ended;
    const lasted = boot?.seconds != null ? took(boot.seconds) : running ? `${took(now - seconds(boot.started))} …` : "";
    const facts = [pi.serial, pi.model, pi.mac, pi.address, imageOf(pi), boot ? ago(seconds(boot.started), now) : "never", lasted];
    [...parts.facts.values()].forEach((one, place) => {
      say(one.text, facts[place] || "–");
      one.term.parentElement.hidden = !facts[place];
    });
    parts.stranger.hidden = pi.known;
    if (!pi.known) parts.line.setLine(addLine(pi, this.#store.pis.values()));
    parts.never.hidden = Boolean(boot);
    this.#showBoot(pi, now);
    const log = this.#wanted === null ? this.#told?.log : null;
    parts.log.hidden = !log?.length;
    if (log?.length) this.#showLog(log);
    const warnings = (this.#wanted === null ? this.#told : this.#past)?.warnings ?? [];
    parts.warnings.hidden = warnings.length === 0;
    if (warnings.length) this.#showWarnings(warnings);
  }

  // A log that is read at its end stays there as it grows.
  #showLog(log) {
    const box = this.#parts.log.lastChild;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    say(box, log.map((line) => `${at(seconds(line.at))}  ${line.text}`).join("\n"));
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  #showWarnings(warnings) {
    const box = this.#parts.warnings;
    const key = JSON.stringify(warnings);
    if (box.dataset.shown === key) return;
    box.dataset.shown = key;
    const items = warnings.map((one) =>
      h("li", {}, h("p", { class: "what" }, ...sentence(one.what)), h("p", {}, ...sentence(`${one.why[0].toUpperCase()}${one.why.slice(1)}. ${one.do}`))),
    );
    box.replaceChildren(h("h2", { id: "warnings" }, "Worth knowing"), h("ul", {}, ...items));
  }

  #showBoot(pi, now) {
    const parts = this.#parts;
    const told = this.#told;
    const past = this.#wanted === null ? null : (this.#past ?? undefined);
    // The stream is ahead of the answer that has the files: they belong to one boot as long as its attempt is the same.
    const same = told?.boot && pi.boot && told.boot.number === pi.boot.number && told.boot.attempts === pi.boot.attempts;
    const boot = past === null ? pi.boot : past;
    const detail = past === null ? (same ? told.boot : null) : past;
    parts.boot.hidden = !boot;
    this.#stall(pi, boot, detail);
    const all = told?.boots ?? [];
    parts.past.hidden = all.length === 0;
    if (all.length) parts.boots.show(all, this.#wanted ?? all.at(-1).number, now);
    if (!boot) return;
    say(parts.head, past === null ? (pi.state === "booting" ? "This boot" : "Latest boot") : `Boot ${boot.number}`);
    const words = [
      `Boot ${boot.number}, began ${date(seconds(boot.started), now)}`,
      boot.seconds != null ? `online after ${took(boot.seconds)}` : "",
      boot.bytes ? size(boot.bytes) : "",
      boot.retransmissions ? count(boot.retransmissions, "packet sent again", "packets sent again") : "nothing sent again",
      boot.attempts > 1 ? `attempt ${boot.attempts}` : "",
    ];
    say(parts.sub, words.filter(Boolean).join(" · "));
    parts.waterfall.show(boot, detail, now);
  }

  #stall(pi, boot, detail) {
    const { stall } = this.#parts;
    const stands = boot?.state === "stalled";
    stall.hidden = !stands;
    const lines = stands ? evidence(detail?.evidence) : [];
    const stage = boot?.stages.reduce((last, one) => (STAGES.indexOf(one.name) > STAGES.indexOf(last) ? one.name : last), "seen");
    const key = stands ? JSON.stringify([boot.cause, stage, lines]) : "";
    if (!stands || stall.dataset.shown === key) return;
    stall.dataset.shown = key;
    const cause = boot.cause;
    const told = cause
      ? [
          h("p", { class: "what" }, ...sentence(cause.what)),
          h("dl", {}, h("dt", {}, "Why"), h("dd", {}, ...sentence(cause.why)), h("dt", {}, "What to do"), h("dd", {}, ...sentence(cause.do))),
        ]
      : [h("p", { class: "what" }, "No cause is known. Its screen or its serial console may tell more.")];
    const seen = lines.flatMap(([label, text]) => [h("dt", {}, label), h("dd", { class: "names" }, text)]);
    stall.replaceChildren(
      h("h2", { id: "stall" }, `Stalled at ${stage}`, cause ? h("span", { class: "rule" }, cause.rule) : null),
      ...told,
      seen.length ? h("div", { class: "evidence" }, h("h3", {}, "What was seen"), h("dl", {}, ...seen)) : null,
    );
  }
}
