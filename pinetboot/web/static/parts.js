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

export function stageBar() {
  const bar = h("span", { class: "bar", role: "img" });
  bar.append(...STAGES.map(() => document.createElement("i")));
  return bar;
}

// Which stages were reached, which one it is in or stands in, and which were left out on the way.
export function setStageBar(bar, pi) {
  const reached = new Set((pi.boot?.stages ?? []).map((stage) => stage.name));
  const here = STAGES.indexOf(pi.stage);
  [...bar.children].forEach((segment, at) => {
    let word = "";
    if (at < here) word = reached.has(STAGES[at]) ? "done" : "left-out";
    else if (at === here) word = pi.state === "online" ? "done" : pi.state === "stalled" ? "stuck" : "now";
    mark(segment, "class", word);
  });
  mark(bar, "data-state", pi.state);
  const words = here < 0 ? "no boot seen" : `stage ${here + 1} of ${STAGES.length}, ${pi.stage}`;
  mark(bar, "aria-label", pi.state === "stalled" ? `stalled at ${words}` : words);
}

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
