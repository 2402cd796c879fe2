// Pieces of pages that more than one page uses. Text goes in as text, never as HTML: Pis name files as they like.

import { STAGES, STATES } from "./words.js";

// An element: h("p", { class: "why" }, "text", child, null).
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// Texts are set only where they change, so that nobody's selection or screen reader is disturbed.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A sentence with its `commands` set as such.
export function sentence(text) {
  return text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export const badge = () => h("span", { class: "badge" });

export function setBadge(element, state) {
  mark(element, "data-state", state);
  say(element, STATES[state] ?? state);
}

function stageBar(stages) {
  const bar = h("span", { class: "bar", role: "img" });
  bar.append(...stages.map(() => document.createElement("i")));
  return bar;
}

// Which stages were reached, which one it is in or stands in, and which were left out on the way.
export function setStageBar(bar, pi, stages = STAGES) {
  const reached = new Set((pi.boot?.stages ?? []).map((stage) => stage.name));
  const here = stages.indexOf(pi.stage);
  [...bar.children].forEach((segment, at) => {
    let word = "";
    if (at < here) word = reached.has(stages[at]) ? "done" : "left-out";
    else if (at === here) word = pi.state === "booting" ? "now" : pi.state === "stalled" ? "stuck" : "done";
    mark(segment, "class", word);
  });
  mark(bar, "data-state", pi.state);
  const words = here < 0 ? "no boot seen" : `stage ${here + 1} of ${stages.length}, ${pi.stage}`;
  mark(bar, "aria-label", pi.state === "stalled" ? `stalled at ${words}` : words);
}

// A row of a list of boots: a badge, a name, its stages, and four fields by these labels.
const FIELDS = ["image", "address", "last", "took"];
const field = (name, label) => h("span", { class: `field ${name}` }, h("span", { class: "label" }, label), h("b"));

export function bootRow(labels, stages) {
  return h(
    "li",
    { class: "pi" },
    badge(),
    h("span", { class: "name" }, h("a", {}), h("small")),
    h("span", { class: "stage" }, stageBar(stages), h("span", { class: "at" })),
    ...FIELDS.map((name, place) => field(name, labels[place])),
    h("p", { class: "why", hidden: true }),
  );
}

export function cellsOf(element, href) {
  const find = (selector) => element.querySelector(selector);
  find("a").href = href;
  const fields = FIELDS.map((name) => [name, find(`.${name} b`)]);
  return {
    element,
    badge: find(".badge"),
    name: find("a"),
    detail: find("small"),
    bar: find(".bar"),
    at: find(".at"),
    why: find(".why"),
    ...Object.fromEntries(fields),
  };
}

export const headOf = (labels) =>
  h("div", { class: "head", "aria-hidden": "true" }, ...["State", "Name", "Stage", ...labels].map((text) => h("span", {}, text)));

async function copy(text) {
  // Over plain http the browser offers no clipboard but to an old command that copies what is selected.
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return true;
  }
  const field = h("textarea", { class: "unseen", readonly: true, "aria-hidden": "true", tabindex: "-1" });
  field.value = text;
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  return copied;
}

// A command line, with a button that copies it.
export function command(line, about) {
  const code = h("code", {}, line);
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy the command ${about}` }, "Copy");
  let back = 0;
  button.addEventListener("click", async () => {
    const copied = await copy(code.textContent).catch(() => false);
    if (!copied) getSelection().selectAllChildren(code);
    button.textContent = copied ? "Copied" : "Selected";
    dispatchEvent(new CustomEvent("said", { detail: copied ? "Copied." : "Selected; press Control C." }));
    clearTimeout(back);
    back = setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  const box = h("span", { class: "command" }, code, button);
  box.setLine = (text) => say(code, text);
  return box;
}
