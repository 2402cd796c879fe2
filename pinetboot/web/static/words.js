// How things are said: stages, states, times and sizes as text. No document, no network.

export const STAGES = ["seen", "firmware", "kernel", "linux", "root", "seed", "online"];
// What a machine that is no Pi goes through: its root is its own, and it says nothing when it is up.
export const MACHINE_STAGES = ["seen", "firmware", "kernel", "linux", "seed"];
export const STAGE_WORDS = {
  seen: "asks over DHCP",
  firmware: "fetches its firmware",
  kernel: "fetches its kernel",
  linux: "Linux asks for an address",
  root: "has its root mounted",
  seed: "fetches its seed",
  online: "is up",
};
export const STATES = { stalled: "Stalled", booting: "Booting", online: "Online", quiet: "Quiet", unseen: "Not seen" };
export const RESULTS = {
  ok: "",
  probed: "only its size was asked",
  missing: "not there",
  refused: "refused",
  timeout: "the client went silent",
  aborted: "given up by the client",
  error: "failed here",
  running: "on its way",
};

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

export const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const nameOf = (one) => one.hostname || one.serial || one.mac;

// Seconds since 1970 of a time as the API gives it; null for none.
export const seconds = (text) => (text ? Date.parse(text) / 1000 : null);

export function ago(since, now) {
  const passed = Math.max(0, now - since);
  if (passed < 5) return "now";
  if (passed < MINUTE) return `${Math.floor(passed / 5) * 5} s ago`;
  if (passed < HOUR) return `${Math.floor(passed / MINUTE)} min ago`;
  if (passed < DAY) return `${Math.floor(passed / HOUR)} h ago`;
  return passed < 2 * DAY ? "yesterday" : `${Math.floor(passed / DAY)} days ago`;
}

export function took(passed) {
  if (passed === null || passed === undefined) return "";
  if (passed < 0.01) return `${(passed * 1000).toFixed(1)} ms`;
  if (passed < 1) return `${Math.round(passed * 1000)} ms`;
  if (passed < 10) return `${passed.toFixed(1)} s`;
  if (passed < MINUTE) return `${Math.round(passed)} s`;
  if (passed < HOUR) return `${Math.floor(passed / MINUTE)} min ${String(Math.floor(passed % MINUTE)).padStart(2, "0")} s`;
  return `${Math.floor(passed / HOUR)} h ${Math.floor((passed % HOUR) / MINUTE)} min`;
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

export const rate = (bytes, passed) => (bytes > 0 && passed > 0.0005 ? `${size(Math.round(bytes / passed))}/s` : "");

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const at = (since) => clock.format(since * 1000);

export function date(since, now) {
  return now - since < DAY / 2 ? at(since) : day.format(since * 1000);
}

// What a Pi's image is, in a few words.
export function imageOf(pi) {
  if (!pi.image) return "";
  return pi.generation === null || pi.generation === undefined ? pi.image : `${pi.image} · gen ${pi.generation}`;
}

const PLAIN = /^[\w.@][\w.@%+=:,/-]*$/;
const quoted = (word) => (PLAIN.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

// The command that puts a Pi into the fleet, with the image that most others have.
export function addLine(pi, pis) {
  const images = new Map();
  for (const other of pis) if (other.known && other.image) images.set(other.image, (images.get(other.image) ?? 0) + 1);
  const [image] = [...images].sort((a, b) => b[1] - a[1])[0] ?? [];
  return `pinetboot pi add ${quoted(pi.serial)}${image ? ` --image ${quoted(image)}` : ""}`;
}
