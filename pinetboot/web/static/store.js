// Every Pi as the daemon tells it, and every machine that is none, kept current by server-sent events. What is shown is
// the pages'. Tells "change" with the serials and MACs that changed (null: all), and "link" as the connection comes or goes.

const SILENT_S = 40; // the daemon says something every 15 s
const AGAIN_S = [1, 2, 4, 8];
const HIDDEN_S = 60; // a tab that nobody sees gives its place back after so long

export class Store extends EventTarget {
  pis = new Map();
  machines = new Map();
  loaded = false;
  live = false;
  since = 0; // when it was heard last, seconds since 1970
  #source = null;
  #skew = 0; // what makes the daemon's time of ours
  #tries = 0;
  #timers = {};

  start() {
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#timers.hidden);
      if (!document.hidden) this.#source ?? this.#open();
      else this.#timers.hidden = setTimeout(() => this.#close(), HIDDEN_S * 1000);
    });
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", () => this.#source ?? this.#open());
    addEventListener("online", () => this.again());
    this.#open();
  }

  // The time by the daemon's clock, seconds since 1970.
  now() {
    return Date.now() / 1000 + this.#skew;
  }

  // Try at once.
  again() {
    if (this.live) return;
    this.#close();
    this.#open();
  }

  async ask(path) {
    const answer = await fetch(path, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error((await answer.text()).trim() || `HTTP ${answer.status}`);
    return answer.json();
  }

  #open() {
    const source = new EventSource("api/events");
    this.#source = source;
    this.#watch();
    const on = (name, take) =>
      source.addEventListener(name, (event) => {
        this.#heard();
        this.#up();
        take(JSON.parse(event.data));
      });
    on("pis", (told) => {
      this.#skew = Date.parse(told.now) / 1000 - Date.now() / 1000;
      this.pis = new Map(told.pis.map((pi) => [pi.serial, pi]));
      this.machines = new Map(told.machines.map((machine) => [machine.mac, machine]));
      this.loaded = true;
      this.#tell(null);
    });
    on("pi", (pi) => {
      this.pis.set(pi.serial, pi);
      this.#tell([pi.serial]);
    });
    on("gone", ({ serial }) => {
      this.pis.delete(serial);
      this.#tell([serial]);
    });
    on("machine", (machine) => {
      this.machines.set(machine.mac, machine);
      this.#tell([machine.mac]);
    });
    on("machine-gone", ({ mac }) => {
      this.machines.delete(mac);
      this.#tell([mac]);
    });
    on("beat", ({ now }) => (this.#skew = Date.parse(now) / 1000 - Date.now() / 1000));
    source.addEventListener("error", () => {
      this.#down();
      // The browser itself tries again after a broken connection, but not after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED && this.#source === source) {
        this.#close();
        this.#later();
      }
    });
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#timers.silent);
    clearTimeout(this.#timers.again);
    this.#down();
  }

  #later() {
    const wait = AGAIN_S[Math.min(this.#tries++, AGAIN_S.length - 1)];
    this.#timers.again = setTimeout(() => this.#open(), wait * 1000);
  }

  #heard() {
    this.since = Date.now() / 1000;
    this.#watch();
  }

  #watch() {
    clearTimeout(this.#timers.silent);
    this.#timers.silent = setTimeout(() => {
      this.#close();
      this.#later();
    }, SILENT_S * 1000);
  }

  #up() {
    this.#tries = 0;
    if (!this.live) this.#link(true);
  }

  #down() {
    if (this.live) this.#link(false);
  }

  #link(live) {
    this.live = live;
    this.dispatchEvent(new Event("link"));
  }

  #tell(serials) {
    this.dispatchEvent(new CustomEvent("change", { detail: serials }));
  }
}
