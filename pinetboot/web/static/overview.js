// All Pis at a glance: counts, filter, order, those that are in no fleet, and a row for each.

import { Machines } from "./machines.js";
import { bootRow, cellsOf, command, h, headOf, mark, say, setBadge, setStageBar } from "./parts.js";
import { addLine, ago, collator, count, imageOf, nameOf, seconds, STAGES, took } from "./words.js";

const RANK = { stalled: 0, booting: 1, online: 2, unseen: 3 };
const STRANGERS = 3; // shown before somebody asks for all
const byName = (a, b) => collator.compare(nameOf(a), nameOf(b)) || (a.serial < b.serial ? -1 : 1);
const started = (pi) => seconds(pi.boot?.started) ?? 0;
const ORDERS = {
  state: ["Stalled first", (a, b) => RANK[a.state] - RANK[b.state] || byName(a, b)],
  name: ["Name", byName],
  last: ["Last boot", (a, b) => started(b) - started(a) || byName(a, b)],
  took: ["Longest boot", (a, b) => (b.boot?.seconds ?? -1) - (a.boot?.seconds ?? -1) || byName(a, b)],
  image: ["Image", (a, b) => collator.compare(imageOf(a), imageOf(b)) || byName(a, b)],
  address: ["Address", (a, b) => collator.compare(a.address ?? "~", b.address ?? "~") || byName(a, b)],
};
const COUNTS = [
  ["all", "All", () => true],
  ["stalled", "Stalled", (pi) => pi.state === "stalled"],
  ["booting", "Booting", (pi) => pi.state === "booting"],
  ["online", "Online", (pi) => pi.state === "online"],
  ["unseen", "Not seen", (pi) => pi.state === "unseen"],
  ["stranger", "Not in the fleet", (pi) => !pi.known],
];
const chosen = { state: "all", order: "state", search: "" }; // outlives a look at one Pi

const LABELS = ["Image", "Address", "Last boot", "Took"];
let pattern = null;
function row(serial) {
  pattern ??= bootRow(LABELS, STAGES);
  return cellsOf(pattern.cloneNode(true), `#/pi/${serial}`);
}

function fill(one, pi) {
  one.pi = pi;
  one.text = [pi.serial, pi.hostname, pi.mac, pi.model, pi.image, pi.address, pi.state, pi.stage, pi.boot?.cause?.what]
    .join("\n")
    .toLowerCase();
  mark(one.element, "data-state", pi.state);
  setBadge(one.badge, pi.state);
  say(one.name, nameOf(pi));
  const notes = pi.boot?.warnings?.length ?? 0;
  const detail = [pi.hostname ? pi.serial : "", pi.model, pi.known ? "" : "not in the fleet", notes ? count(notes, "note") : ""];
  say(one.detail, detail.filter(Boolean).join(" · "));
  setStageBar(one.bar, pi);
  say(one.at, pi.stage ?? "");
  say(one.image, imageOf(pi) || "–");
  say(one.address, pi.address || "–");
  const cause = pi.boot?.cause;
  one.why.hidden = pi.state !== "stalled";
  say(one.why, pi.state === "stalled" ? `Stalled at ${pi.stage}: ${cause?.what ?? "no cause is known"}` : "");
}

function tick(one, now) {
  const boot = one.pi.boot;
  const since = seconds(boot?.started);
  say(one.last, since === null ? "never" : ago(since, now));
  const running = one.pi.state === "booting" && boot && !boot.ended;
  say(one.took, boot?.seconds != null ? took(boot.seconds) : running ? `${Math.floor(Math.max(0, now - since))} s …` : "–");
}

export class Overview {
  title = "All Pis";
  #store;
  #rows = new Map();
  #strangers = new Map();
  #allStrangers = false;
  #parts;
  #late = { at: 0, timer: 0 };

  constructor(store, root) {
    this.#store = store;
    this.#build(root);
    this.changed(null);
    this.#late.clock = setInterval(() => this.#tick(), 1000);
  }

  close() {
    clearInterval(this.#late.clock);
    clearTimeout(this.#late.timer);
  }

  #build(root) {
    const counts = new Map(
      COUNTS.map(([key, label]) => {
        const number = h("b", {}, "0");
        const button = h("button", { type: "button", class: "count", "data-state": key }, number, h("span", {}, label));
        button.addEventListener("click", () => this.#choose({ state: chosen.state === key ? "all" : key }));
        return [key, { button, number }];
      }),
    );
    const search = h("input", {
      type: "search",
      id: "search",
      placeholder: "Name, serial, address, image …",
      autocomplete: "off",
      spellcheck: "false",
    });
    search.value = chosen.search;
    search.addEventListener("input", () => this.#choose({ search: search.value }));
    const order = h("select", { id: "order" });
    order.append(...Object.entries(ORDERS).map(([key, [label]]) => h("option", { value: key }, label)));
    order.value = chosen.order;
    order.addEventListener("change", () => this.#choose({ order: order.value }));
    this.#parts = {
      counts,
      search,
      shown: h("p", { class: "shown", role: "status" }),
      strangers: h("section", { class: "card strangers", "aria-labelledby": "strangers", hidden: true }),
      tools: h(
        "div",
        { class: "tools" },
        h("label", { class: "search" }, h("span", {}, "Search"), search),
        h("label", { class: "order" }, h("span", {}, "Order"), order),
      ),
      list: h("ul", { class: "pis", role: "list" }),
      head: headOf(LABELS),
      empty: h("section", { class: "card empty", hidden: true }),
      machines: new Machines(this.#store),
    };
    const parts = this.#parts;
    parts.group = h(
      "div",
      { class: "counts", role: "group", "aria-label": "Show Pis by state" },
      ...[...counts.values()].map((one) => one.button),
    );
    root.replaceChildren(
      h("h1", { class: "unseen", tabindex: "-1" }, "All Pis"),
      parts.group,
      parts.strangers,
      parts.tools,
      parts.shown,
      parts.empty,
      parts.head,
      parts.list,
      parts.machines.element,
    );
  }

  // serials: those that changed, MACs of machines among them; null: look at all.
  changed(serials) {
    this.#parts.machines.changed(serials);
    const pis = this.#store.pis;
    for (const serial of serials ?? [...new Set([...this.#rows.keys(), ...pis.keys()])]) {
      const pi = pis.get(serial);
      let one = this.#rows.get(serial);
      if (!pi) {
        one?.element.remove();
        this.#rows.delete(serial);
        continue;
      }
      if (!one) this.#rows.set(serial, (one = row(serial)));
      fill(one, pi);
      tick(one, this.#store.now());
    }
    // Counts, filter and order are looked at twice a second at most, however many Pis boot.
    const wait = this.#late.at + 500 - performance.now();
    if (serials === null || wait <= 0) this.#arrange();
    else if (!this.#late.timer) this.#late.timer = setTimeout(() => this.#arrange(), wait);
  }

  #choose(what) {
    Object.assign(chosen, what);
    this.#arrange();
  }

  #tick() {
    const now = this.#store.now();
    for (const one of this.#rows.values()) if (!one.element.hidden) tick(one, now);
    this.#parts.machines.tick(now);
  }

  #arrange() {
    clearTimeout(this.#late.timer);
    Object.assign(this.#late, { at: performance.now(), timer: 0 });
    const { counts, empty, group, head, list, shown, tools } = this.#parts;
    const rows = [...this.#rows.values()];
    for (const [key, , test] of COUNTS) {
      const number = rows.reduce((sum, one) => sum + test(one.pi), 0);
      const { button, number: text } = counts.get(key);
      say(text, String(number));
      mark(button, "aria-pressed", String(chosen.state === key));
      mark(button, "data-none", String(number === 0));
      button.hidden = key === "stranger" && number === 0 && chosen.state !== key;
    }
    const test = COUNTS.find(([key]) => key === chosen.state)[2];
    const words = chosen.search.toLowerCase().split(/\s+/).filter(Boolean);
    let visible = 0;
    for (const one of rows) {
      const fits = test(one.pi) && words.every((word) => one.text.includes(word));
      if (one.element.hidden === fits) one.element.hidden = !fits;
      visible += fits;
    }
    this.#order(rows.sort((a, b) => ORDERS[chosen.order][1](a.pi, b.pi)));
    const none = rows.length === 0;
    group.hidden = tools.hidden = none;
    head.hidden = list.hidden = none || visible === 0;
    say(shown, none || visible === rows.length ? "" : `${visible} of ${count(rows.length, "Pi")} shown`);
    empty.hidden = !none && visible > 0;
    if (!empty.hidden) this.#empty(none);
    this.#showStrangers(rows.map((one) => one.pi).filter((pi) => !pi.known));
  }

  // Put rows into order with as few moves as can be: a row that moves loses the keyboard's focus.
  #order(rows) {
    const { list } = this.#parts;
    const focused = document.activeElement;
    let here = list.firstElementChild;
    for (const { element } of rows) {
      if (here && here !== element && here.nextElementSibling === element) {
        const out = here;
        here = element;
        list.append(out);
      }
      if (here === element) here = here.nextElementSibling;
      else list.insertBefore(element, here);
    }
    if (focused !== document.activeElement && list.contains(focused)) focused.focus({ preventScroll: true });
  }

  #empty(none) {
    const { empty } = this.#parts;
    const key = none ? (this.#store.loaded ? "none" : "waiting") : "filtered";
    if (empty.dataset.shown === key) return;
    empty.dataset.shown = key;
    if (key === "waiting") {
      empty.replaceChildren(h("p", {}, "Waiting for the daemon …"));
    } else if (key === "filtered") {
      const all = h("button", { type: "button" }, "Show all");
      all.addEventListener("click", () => {
        this.#parts.search.value = "";
        this.#choose({ state: "all", search: "" });
        this.#parts.search.focus();
      });
      empty.replaceChildren(h("h2", {}, "No Pi fits"), all);
    } else {
      const line = command("pinetboot pi add SERIAL --image NAME", "that adds a Pi");
      empty.replaceChildren(
        h("h2", {}, "No Pi yet"),
        h("p", {}, "Let a Pi boot from the network (raspi-config, Advanced Options, Boot Order) and plug it in: it shows up here by itself."),
        h("p", {}, "Or write it down first: ", line),
      );
    }
  }

  #showStrangers(pis) {
    const { strangers } = this.#parts;
    strangers.hidden = pis.length === 0;
    if (strangers.hidden) return;
    const latest = pis.sort((a, b) => started(b) - started(a) || byName(a, b));
    const some = this.#allStrangers ? latest : latest.slice(0, STRANGERS);
    const key = JSON.stringify([latest.length, some.map((pi) => [pi.serial, pi.model, pi.address])]);
    const lines = some.map((pi) => addLine(pi, this.#store.pis.values()));
    if (strangers.dataset.shown === key + lines.join()) return;
    strangers.dataset.shown = key + lines.join();
    const items = some.map((pi, at) => {
      let box = this.#strangers.get(pi.serial);
      if (!box) this.#strangers.set(pi.serial, (box = command(lines[at], `for ${pi.serial}`)));
      box.setLine(lines[at]);
      const about = [pi.model, pi.address, pi.mac].filter(Boolean).join(" · ");
      return h("li", {}, h("span", { class: "about" }, h("a", { href: `#/pi/${pi.serial}` }, nameOf(pi)), about ? ` ${about}` : ""), box);
    });
    const more = latest.length - some.length;
    const all = h("button", { type: "button", class: "quiet" }, `Show all ${latest.length}`);
    all.addEventListener("click", () => {
      this.#allStrangers = true;
      this.#showStrangers(latest);
      strangers.querySelector("a")?.focus();
    });
    const focused = document.activeElement;
    strangers.replaceChildren(
      h("h2", { id: "strangers" }, `${count(latest.length, "Pi")} not in the fleet`),
      h("p", {}, "Seen here, and in no fleet.toml. To give one trees of its own, made from an image:"),
      h("ul", {}, ...items),
      ...(more > 0 ? [all] : []),
    );
    if (strangers.contains(focused)) focused.focus({ preventScroll: true });
  }
}
