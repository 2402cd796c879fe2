// Puts the pages together: which one the address names, the connection, the colours, and what is said aloud.

import { MachinePage } from "./machine.js";
import { Overview } from "./overview.js";
import { mark, say } from "./parts.js";
import { PiPage } from "./pi.js";
import { Store } from "./store.js";
import { at, count, nameOf } from "./words.js";

const $ = (id) => document.getElementById(id);
const store = new Store();
const main = $("main");
let page = null;
let scrolled = 0; // how far down the list of all Pis was

const PI = /^#\/pi\/([0-9a-f]{8})(?:\/boot\/(\d{1,9}))?$/;
const MACHINE = /^#\/machine\/((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$/;

function route(event) {
  const pi = PI.exec(location.hash);
  const machine = MACHINE.exec(location.hash);
  const found = pi ?? machine;
  if (page instanceof Overview) scrolled = page.leftAt ?? scrollY;
  page?.close();
  if (pi) page = new PiPage(store, main, pi[1], pi[2] ? Number(pi[2]) : null);
  else page = machine ? new MachinePage(store, main, machine[1]) : new Overview(store, main);
  mark(main, "class", found ? "one" : "all");
  title();
  if (!event) return;
  main.querySelector("h1").focus({ preventScroll: true });
  scrollTo(0, found ? 0 : scrolled);
}

function title() {
  const stalled = [...store.pis.values(), ...store.machines.values()].filter((one) => one.state === "stalled").length;
  document.title = `${stalled ? `(${stalled} stalled) ` : ""}${page.title} · pinetboot`;
}

// What changed, said aloud: states alone, and at most one sentence every few seconds.
const SAY_MS = 4000;
const states = new Map();
const moved = new Map();
let speaking = 0;

function notice(serials) {
  const first = states.size === 0;
  for (const serial of serials ?? [...store.pis.keys(), ...store.machines.keys()]) {
    const pi = store.pis.get(serial) ?? store.machines.get(serial);
    if (!pi) states.delete(serial);
    else if (states.get(serial) !== pi.state) {
      if (!first && pi.state !== "booting") moved.set(serial, pi);
      states.set(serial, pi.state);
    }
  }
  if (moved.size && !speaking) speaking = setTimeout(speak, 500);
}

function speak() {
  const words = [];
  for (const [state, kind, key] of [["stalled", "Pi", "serial"], ["stalled", "machine", "machine"], ["online", "Pi", "serial"]]) {
    const some = [...moved.values()].filter((one) => one.state === state && key in one);
    if (some.length) words.push(`${some.length <= 3 ? some.map(nameOf).join(", ") : count(some.length, kind)} ${state}`);
  }
  moved.clear();
  if (words.length) $("said").textContent = `${words.join("; ")}.`;
  speaking = setTimeout(() => {
    speaking = 0;
    if (moved.size) speak();
  }, SAY_MS);
}

// The connection. A short gap is no news: a daemon that is restarted is back in a second or two.
const AWAY_MS = 2500;
let away = 0;

function link() {
  const line = $("link");
  clearTimeout(away);
  mark(line, "data-link", store.live ? "live" : "waiting");
  say(line, store.live ? "Live" : store.loaded ? "Reconnecting" : "Connecting");
  if (store.live) {
    $("away").hidden = true;
    return;
  }
  away = setTimeout(() => {
    mark(line, "data-link", "away");
    say($("away"), store.loaded ? `No answer from pinetboot since ${at(store.since)}. What is shown is from then; it tries again by itself.` : "No answer from pinetboot yet. It tries again by itself.");
    $("away").hidden = false;
  }, AWAY_MS);
}

// Light, dark, or as the system has it.
const THEMES = ["auto", "light", "dark"];
const NEXT = { auto: "light", light: "dark", dark: "auto" };

function theme(chosen) {
  const root = document.documentElement;
  if (chosen === "auto") delete root.dataset.theme;
  else root.dataset.theme = chosen;
  try {
    localStorage.setItem("pinetboot-theme", chosen);
  } catch {
    // It holds for this page then.
  }
  const button = $("theme");
  mark(button, "data-theme-is", chosen);
  say(button, `◐ ${chosen[0].toUpperCase()}${chosen.slice(1)}`);
  mark(button, "aria-label", `Colours: ${chosen}`);
  button.title = `Colours: ${chosen}; next ${NEXT[chosen]}`;
}

let pending = null; // serials that changed since the last frame; null: none
function change(event) {
  if (event.detail === null || pending === "all") pending = "all";
  else pending = (pending ?? new Set()).union?.(new Set(event.detail)) ?? new Set([...(pending ?? []), ...event.detail]);
  if (change.waiting) return;
  change.waiting = true;
  // A tab that nobody sees gets no frames.
  const later = document.hidden ? (work) => setTimeout(work, 500) : requestAnimationFrame;
  later(() => {
    const serials = pending === "all" ? null : [...pending];
    pending = null;
    change.waiting = false;
    notice(serials);
    page.changed(serials);
    title();
  });
}

$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
$("theme").addEventListener("click", () => theme(NEXT[document.documentElement.dataset.theme ?? "auto"]));
addEventListener("said", (event) => ($("said").textContent = event.detail));
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = $("search");
  if (!search || event.target.closest?.("input, textarea, select")) return;
  event.preventDefault();
  search.focus();
});
addEventListener("scroll", () => page instanceof Overview && (page.leftAt = scrollY), { passive: true });

theme(THEMES.includes(document.documentElement.dataset.theme) ? document.documentElement.dataset.theme : "auto");
store.addEventListener("link", link);
store.addEventListener("change", change);
link();
route();
store.start();
