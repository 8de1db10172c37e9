// Puts what the server sends in the place of what the page shows. Without it the page refreshes by itself.
"use strict";

const main = document.getElementById("main");
const lamp = document.querySelector(".live");
const lampText = document.getElementById("live-text");
const empty = document.getElementById("empty");
let source = null;
let mark = main.dataset.mark;
let retry = 0;

function show(state, text) {
  if (lamp.dataset.liveState === state) return;
  lamp.dataset.liveState = state;
  lampText.textContent = text;
}

// Every string of HTML comes from a template of this origin, with everything in it escaped.
function swap(old, html, inside) {
  const focused = document.activeElement;
  const back = old.contains(focused) ? focused.id || (focused.matches("a") ? "a" : "") : "";
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  let place = old;
  if (inside) old.replaceChildren(template.content);
  else {
    place = template.content.firstElementChild;
    old.replaceWith(place);
  }
  if (back) (back === "a" ? place.querySelector("a") : document.getElementById(back))?.focus({ preventScroll: true });
  dress(place);
}

// times relative to now, and buttons that need a script
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function span(seconds) {
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  const whole = Math.floor(seconds / size);
  const rest = unit === "min" && seconds < 600 ? ` ${Math.floor(seconds % 60)} s` : "";
  return `${whole} ${unit}${rest}`;
}

// with the day where it is another one
function clock(at) {
  const then = new Date(at);
  const time = then.toLocaleTimeString([], { hour12: false });
  return then.toDateString() === new Date().toDateString() ? time : `${then.toLocaleDateString()} ${time}`;
}

function tell(time) {
  const at = Date.parse(time.dateTime);
  if (Number.isNaN(at)) return;
  const past = Math.max(0, (Date.now() - at) / 1000);
  const left = Math.max(0, (at - Date.now()) / 1000);
  const words = {
    ago: () => span(past),
    since: () => `${clock(at)} (${span(past)})`,
    until: () => `${clock(at)} (${left > 0 ? `in ${span(left)}` : "now"})`,
    at: () => clock(at),
  }[time.dataset.show];
  if (words && time.textContent !== words()) time.textContent = words();
}

function dress(within) {
  within.querySelectorAll("time[data-show]").forEach(tell);
  within.querySelectorAll("button[data-copy]").forEach((button) => {
    button.hidden = !navigator.clipboard;
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const before = button.innerHTML;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
  setTimeout(() => {
    button.innerHTML = before;
  }, 1500);
});

document.querySelector(".filter")?.addEventListener("change", (event) => {
  if (event.target.matches("select")) event.target.form.requestSubmit();
});

// what the server sends
const receive = {
  presence(content) {
    swap(document.getElementById("presence"), content.presence, true);
  },
  lines(content) {
    const body = document.getElementById("lines");
    const focused = document.activeElement.closest("#lines tr")?.id;
    for (const [key, html] of Object.entries(content.lines ?? {})) {
      let line = document.getElementById(`r-${key}`);
      const known = line !== null;
      if (!known) {
        line = document.createElement("tr");
        body.append(line);
      }
      swap(line, html, false);
      if (known) document.getElementById(`r-${key}`).classList.add("fresh");
    }
    if (content.order) {
      const wanted = content.order.map((key) => document.getElementById(`r-${key}`)).filter(Boolean);
      const kept = new Set(wanted);
      for (const line of [...body.children]) if (!kept.has(line)) line.remove();
      wanted.forEach((line, index) => {
        if (body.children[index] !== line) body.insertBefore(line, body.children[index] ?? null);
      });
      empty.hidden = wanted.length > 0;
      // a line that was moved has lost the focus
      if (focused && document.activeElement === document.body)
        document.getElementById(focused)?.querySelector("a").focus({ preventScroll: true });
    }
    if (content.summary !== undefined) swap(document.getElementById("summary"), content.summary, true);
  },
  parts(content) {
    document.getElementById("gone").hidden = true;
    for (const [name, html] of Object.entries(content.parts)) {
      const place = document.getElementById(`part-${name}`);
      if (place) swap(place, html, true);
    }
  },
  gone() {
    document.getElementById("gone").hidden = false;
  },
};

function connect() {
  if (source || document.hidden || !main.dataset.live) return;
  const address = new URL(main.dataset.live, location.href);
  address.searchParams.set("since", mark);
  source = new EventSource(address);
  source.onopen = () => {
    retry = 0;
    show("on", "live");
  };
  source.onerror = () => {
    show("lost", "connection lost, reconnecting");
    if (source.readyState !== EventSource.CLOSED) return;
    hangUp();
    retry = Math.min(30, retry * 2 || 1);
    setTimeout(connect, retry * 1000);
  };
  for (const [name, take] of Object.entries(receive)) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId) mark = event.lastEventId;
      take(JSON.parse(event.data));
    });
  }
}

function hangUp() {
  source?.close();
  source = null;
}

// a page that nobody sees takes no connection: browsers have six per server
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    hangUp();
    show("off", "paused while hidden");
  } else connect();
});
dress(document);
setInterval(() => document.querySelectorAll("time[data-show]").forEach(tell), 1000);
connect();
