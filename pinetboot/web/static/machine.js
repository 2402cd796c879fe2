// One machine that is no Pi: what it is, why it stands if that can be told, and its present boot as a waterfall.

import { bootsOf, fetchedOf } from "./machines.js";
import { badge, h, mark, say, sentence, setBadge } from "./parts.js";
import { Waterfall } from "./waterfall.js";
import { ago, date, MACHINE_STAGES, nameOf, seconds } from "./words.js";

const AGAIN_MS = 700; // between two looks at a machine that changes all the time
const GROW_MS = 500;

export class MachinePage {
  title = "";
  #store;
  #mac;
  #told = null; // what the API said of it
  #asking = false;
  #closed = false;
  #timers = {};
  #parts;

  constructor(store, root, mac) {
    this.#store = store;
    this.#mac = mac;
    this.title = mac;
    this.#build(root);
    this.changed(null);
    this.#timers.grow = setInterval(() => this.#show(), GROW_MS);
  }

  close() {
    this.#closed = true;
    clearInterval(this.#timers.grow);
    clearTimeout(this.#timers.again);
  }

  changed(names) {
    if (names !== null && !names.includes(this.#mac)) return;
    this.#show();
    if (!this.#timers.again && !this.#asking) this.#ask();
  }

  async #ask() {
    this.#asking = true;
    try {
      const before = this.#store.machines.get(this.#mac);
      this.#told = await this.#store.ask(`api/machines/${this.#mac}`);
      this.#parts.fault.hidden = true;
      this.#timers.again = setTimeout(() => {
        this.#timers.again = 0;
        if (this.#store.machines.get(this.#mac) !== before) this.#ask();
      }, AGAIN_MS);
    } catch (error) {
      this.#parts.fault.hidden = false;
      say(this.#parts.fault, error instanceof TypeError ? "No answer from the daemon." : `${error.message}`);
    }
    this.#asking = false;
    if (!this.#closed) this.#show();
  }

  #build(root) {
    const labels = ["MAC", "Machine", "Address", "Boots", "Fetched", "Last seen"];
    const facts = labels.map((label) => ({ term: h("dt", {}, label), text: h("dd") }));
    const parts = {
      name: h("h1", { tabindex: "-1" }, this.#mac),
      badge: badge(),
      facts,
      fault: h("p", { class: "card fault", role: "status", hidden: true }),
      stall: h("section", { class: "card stall", "aria-labelledby": "stall", hidden: true }),
      never: h("p", { class: "card", hidden: true }, "No boot of it was seen yet."),
      sub: h("p", { class: "sub" }),
      waterfall: new Waterfall(MACHINE_STAGES),
    };
    const head = h("h2", { id: "boot" }, "Latest boot");
    parts.boot = h("section", { class: "card boot", "aria-labelledby": "boot", hidden: true }, head, parts.sub, parts.waterfall.element);
    this.#parts = parts;
    root.replaceChildren(
      h("nav", { class: "back", "aria-label": "Breadcrumb" }, h("a", { href: "#/" }, "All Pis and machines")),
      h("div", { class: "who" }, parts.name, parts.badge),
      h("dl", { class: "facts" }, ...facts.map((one) => h("div", {}, one.term, one.text))),
      parts.fault,
      parts.stall,
      parts.never,
      parts.boot,
      h("p", { class: "raw" }, h("a", { href: `api/machines/${this.#mac}` }, "This machine as JSON")),
    );
  }

  #show() {
    const machine = this.#store.machines.get(this.#mac) ?? this.#told;
    const parts = this.#parts;
    if (!machine) return;
    const now = this.#store.now();
    const boot = machine.boot;
    this.title = nameOf(machine);
    say(parts.name, nameOf(machine));
    setBadge(parts.badge, machine.state);
    const last = seconds(machine.last);
    const facts = [machine.mac, machine.machine, machine.address, bootsOf(machine), fetchedOf(machine), last === null ? "never" : ago(last, now)];
    parts.facts.forEach((one, place) => {
      say(one.text, facts[place] || "–");
      one.term.parentElement.hidden = !facts[place];
    });
    parts.never.hidden = Boolean(boot);
    parts.boot.hidden = !boot;
    this.#stall(machine);
    if (!boot) return;
    say(parts.sub, `Began ${date(seconds(boot.started), now)}`);
    // The stream is ahead of the answer that has the files: they belong to one boot as long as both began together.
    const same = this.#told?.boot?.started === boot.started;
    parts.waterfall.show(boot, same ? this.#told.boot : null, now);
  }

  #stall(machine) {
    const { stall } = this.#parts;
    const cause = machine.boot?.cause;
    stall.hidden = !cause;
    mark(stall, "data-state", machine.state);
    const key = cause ? JSON.stringify([cause, machine.stage, machine.state]) : "";
    if (!cause || stall.dataset.shown === key) return;
    stall.dataset.shown = key;
    stall.replaceChildren(
      h("h2", { id: "stall" }, machine.state === "stalled" ? `Stalled at ${machine.stage}` : `No further than ${machine.stage}`),
      h("p", { class: "what" }, ...sentence(cause.what)),
      h("dl", {}, h("dt", {}, "Why"), h("dd", {}, ...sentence(cause.why)), h("dt", {}, "What to do"), h("dd", {}, ...sentence(cause.do))),
    );
  }
}
