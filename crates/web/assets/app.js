// What a page does beyond links and forms: it follows what happens, keeps drafts, and knows a few keys.
// The scripts of single pages come after it, and use what is named here.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);

// Ages, in words that stay true.
const age = (time) => {
  const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
  const [n, unit] = seconds < 60 ? [0, "just now"] : seconds < 3600 ? [seconds / 60, " min ago"]
    : seconds < 86400 ? [seconds / 3600, " h ago"] : [seconds / 86400, " d ago"];
  time.title ||= time.textContent;
  const text = n ? Math.floor(n) + unit : unit;
  time.textContent = time.dataset.age ? "for " + text.replace(" ago", "").replace("just now", "a moment") : text;
};
const ages = (root = document) => all("time[data-age]", root).forEach(age);
setInterval(ages, 30000);
// The exact time, also where nothing can be pointed at.
addEventListener("click", ({ target }) => {
  if (target.matches("time") && !target.closest("a")) target.textContent = target.title;
});

// A draft is forgotten once the server says that it took what was sent.
const key = (name) => "draft:" + name;
const sent = /\borch_sent=([\w-]+)/.exec(document.cookie);
if (sent) {
  for (const end of ["", ":lines"]) localStorage.removeItem(key(sent[1]) + end);
  document.cookie = "orch_sent=; path=/; max-age=0";
}

// Text fields that grow, keep their drafts, and are sent by Ctrl or Command and Enter.
const grow = (field) => {
  field.style.height = "auto";
  field.style.height = field.scrollHeight + 2 + "px";
};
const fields = () => {
  for (const form of all("form[data-draft]")) {
    const field = one("textarea[data-grow]", form);
    const draft = key(form.dataset.draft);
    if (field.dataset.ready) continue;
    field.dataset.ready = "1";
    field.value ||= localStorage.getItem(draft) || "";
    field.addEventListener("input", () => localStorage.setItem(draft, field.value));
  }
  for (const field of all("textarea[data-grow]")) {
    if (field.dataset.grows) continue;
    field.dataset.grows = "1";
    field.addEventListener("input", () => grow(field));
    if (field.value) grow(field);
  }
};
addEventListener("keydown", (event) => {
  const field = event.target;
  if (event.key === "Escape" && field.matches?.("textarea")) field.blur();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && field.matches?.("textarea[data-send]")) {
    event.preventDefault();
    field.form.requestSubmit();
  }
});
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.ask && !confirm(form.dataset.ask)) return event.preventDefault();
  // A double tap sends it once.
  setTimeout(() => all("button[type=submit]", form).forEach((button) => { button.disabled = true; }));
});
addEventListener("pageshow", () => all("button[disabled]").forEach((button) => { button.disabled = false; }));

// Whether what is seen can be believed.
const connection = one("#connection");
const say = (text) => { if (connection) { connection.hidden = !text; connection.textContent = text; } };
addEventListener("offline", () => say("Offline: what you see may be old."));
addEventListener("online", () => say(""));

// A stream that rests while nobody looks: browsers have few connections for one server, and a phone sleeps.
const follow = (address, handlers, back) => {
  let source, server;
  const open = () => {
    source = new EventSource(address());
    source.addEventListener("server", (event) => {
      say(server && server !== event.data ? "The server was started anew; this page goes on." : "");
      server = event.data;
    });
    source.onerror = () => {
      say("Not connected: what you see may be old. Trying again…");
      if (source.readyState === 2) setTimeout(open, 3000);
    };
    for (const [name, deed] of Object.entries(handlers)) source.addEventListener(name, deed);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return source.close();
    back?.();
    open();
  });
  open();
  return () => source.close();
};

// What agents do, also where a list that was asked for before comes after.
const done = new Map();
const doings = (list) => all("[data-activity]", list).forEach((row) => {
  row.textContent = done.get(row.dataset.activity) || row.textContent;
});

// A list is loaded anew when something of it changed.
const fresh = async (list) => {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected || !answer.ok) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = one("#list", page);
  if (!next) return;
  ages(next);
  // What is ticked stays ticked.
  for (const tick of all("input:checked", list)) {
    const same = one(`input[value="${tick.value}"]`, next);
    if (same) same.checked = true;
  }
  list.replaceChildren(...next.childNodes);
  doings(list);
};
const followList = (list) => {
  // One at a time, so that an older answer never comes after a newer one.
  let due, turn = Promise.resolve();
  const again = () => {
    if (!due) turn = turn.then(() => { due = 0; return fresh(list); }).catch(() => {});
    due = 1;
  };
  // Only a row of its own changes with what an agent does.
  const doing = (event) => {
    done.set(event.data.slice(0, 36), event.data.slice(37));
    doings(list);
  };
  follow(() => list.dataset.live, { changed: again, doing }, again);
};

// Keys: j and k to the next line and the one before, n and p to the next file or entry, x ticks, c comments, / searches, ? tells.
const blocks = "li.task, .file, ol.transcript > li";
const lines = blocks + ", .review .diff tr:not(.note)";
let at = -1;
const step = (what, by) => {
  const stops = all(what).filter((it) => it.checkVisibility());
  const now = one(".chosen");
  if (!stops.length) return;
  if (now) at = stops.indexOf(now.closest(what));
  now?.classList.remove("chosen");
  at = Math.min(stops.length - 1, Math.max(0, at + by));
  const next = stops[at];
  next.classList.add("chosen");
  next.scrollIntoView({ block: "nearest" });
  next.tabIndex = -1;
  (one("a, summary", next) || next).focus();
};
const keys = {
  j: () => step(lines, 1), k: () => step(lines, -1), n: () => step(blocks, 1), p: () => step(blocks, -1),
  x: () => one("[data-viewed], .pick input", one(".chosen")?.closest(blocks) || document.head)?.click(),
  "/": () => one("input[type=search], .composer textarea")?.focus(),
  "?": () => one("#keys").showModal(),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
  const deed = keys[event.key];
  if (deed) { event.preventDefault(); deed(event); }
});

ages();
fields();
all("#list[data-live]").forEach(followList);
