// Machines that are no Pi, below the Pis: a row for each, and nothing at all where there is none.

import { bootRow, cellsOf, h, headOf, mark, say, setBadge, setStageBar } from "./parts.js";
import { ago, count, MACHINE_STAGES, nameOf, seconds, size } from "./words.js";

const LABELS = ["Boots", "Address", "Last seen", "Fetched"];

// What it boots: the installer that it asked for, else what fleet.toml says.
export const bootsOf = (machine) => machine.installer || machine.boots || "";

export function fetchedOf(machine) {
  const bytes = size(machine.bytes).replace(" ", "\u00a0");
  return machine.files ? `${count(machine.files, "file")}, ${bytes}` : "";
}

// Why it came no further, where that can be told; a machine that is quiet may have gone on without the network.
export function whyOf(machine) {
  const what = machine.boot?.cause?.what;
  if (!what) return "";
  return machine.state === "stalled" ? `Stalled at ${machine.stage}: ${what}` : `No further than ${machine.stage}: ${what}`;
}

let pattern = null;
function row(mac) {
  pattern ??= bootRow(LABELS, MACHINE_STAGES);
  return cellsOf(pattern.cloneNode(true), `#/machine/${mac}`);
}

function fill(one, machine) {
  one.machine = machine;
  mark(one.element, "data-state", machine.state);
  setBadge(one.badge, machine.state);
  say(one.name, nameOf(machine));
  const detail = [machine.hostname ? machine.mac : "", machine.machine, machine.known ? "" : "not in fleet.toml"];
  say(one.detail, detail.filter(Boolean).join(" · "));
  setStageBar(one.bar, machine, MACHINE_STAGES);
  say(one.at, machine.stage ?? "");
  say(one.image, bootsOf(machine) || "–");
  say(one.address, machine.address || "–");
  say(one.took, fetchedOf(machine) || "–");
  const why = whyOf(machine);
  one.why.hidden = !why;
  say(one.why, why);
}

function tick(one, now) {
  const since = seconds(one.machine.last);
  say(one.last, since === null ? "never" : ago(since, now));
}

export class Machines {
  element = h("section", { class: "machines", "aria-labelledby": "machines", hidden: true });
  #store;
  #rows = new Map();
  #list = h("ul", { class: "pis", role: "list" });

  constructor(store) {
    this.#store = store;
    this.element.append(
      h("h2", { id: "machines" }, "Machines"),
      h("p", {}, "What boots from here and is no Pi. It says nothing when it is up."),
      headOf(LABELS),
      this.#list,
    );
  }

  // names: those that changed, serials of Pis among them; null: look at all.
  changed(names) {
    const machines = this.#store.machines;
    for (const mac of names ?? new Set([...this.#rows.keys(), ...machines.keys()])) {
      const machine = machines.get(mac);
      let one = this.#rows.get(mac);
      if (!machine) {
        one?.element.remove();
        this.#rows.delete(mac);
        continue;
      }
      if (!one) {
        this.#rows.set(mac, (one = row(mac)));
        this.#list.append(one.element);
      }
      fill(one, machine);
      tick(one, this.#store.now());
    }
    this.element.hidden = this.#rows.size === 0;
  }

  tick(now) {
    for (const one of this.#rows.values()) tick(one, now);
  }
}
