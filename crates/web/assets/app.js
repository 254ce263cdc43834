// The script of every page: live lists, drafts and keyboard shortcuts.
// Scripts of single pages load after it and use its names.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);

// Updates relative times.
const age = (time) => {
  const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
  const [n, unit] = seconds < 60 ? [0, "just now"] : seconds < 3600 ? [seconds / 60, " min ago"]
    : seconds < 86400 ? [seconds / 3600, " h ago"] : [seconds / 86400, " d ago"];
  time.title ||= time.textContent;
  const text = n ? Math.floor(n) + unit : unit;
  time.textContent = time.dataset.age ? text.replace(" ago", "").replace("now", "started") : text;
};
const ages = (root = document) => all("time[data-age]", root).forEach(age);
setInterval(ages, 30000);
// A tap shows the exact time, since touch screens show no tooltips.
addEventListener("click", ({ target }) => {
  if (target.matches("time") && !target.closest("a")) target.textContent = target.title;
});

// Deletes a draft when the server confirms, by a cookie, that it accepted the form.
const key = (name) => "draft:" + name;
const sent = /\borch_sent=([\w-]+)/.exec(document.cookie);
if (sent) {
  for (const end of ["", ":lines"]) localStorage.removeItem(key(sent[1]) + end);
  document.cookie = "orch_sent=; path=/; max-age=0";
}

// Text fields: grow with their content, keep drafts, and submit with Ctrl or Command and Enter.
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
  // A double tap submits the form once.
  setTimeout(() => all("button[type=submit]", form).forEach((button) => { button.disabled = true; }));
});
addEventListener("pageshow", () => all("button[disabled]").forEach((button) => { button.disabled = false; }));

// Shows the state of the connection.
const connection = one("#connection");
const say = (text) => { if (connection) { connection.hidden = !text; connection.textContent = text; } };
addEventListener("offline", () => say("Offline. This page may be out of date."));
addEventListener("online", () => say(""));

// Follows a stream of events while the page is visible: browsers limit the connections to one server, and phones sleep.
const follow = (address, handlers, back) => {
  let source, server;
  const open = () => {
    source = new EventSource(address());
    source.addEventListener("server", (event) => {
      say(server && server !== event.data ? "Server restarted. You're back online." : "");
      server = event.data;
    });
    source.onerror = () => {
      say("Disconnected. Reconnecting…");
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

// The current activities of agents, which are kept because a reloaded list can be older than the last event.
const done = new Map();
const doings = (list) => all("[data-activity]", list).forEach((row) => {
  row.textContent = done.get(row.dataset.activity) || row.textContent;
});

// Reloads a list after a change.
const fresh = async (list) => {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected || !answer.ok) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = one("#list", page);
  if (!next) return;
  ages(next);
  // Keep the selection.
  for (const tick of all("input:checked", list)) {
    const same = one(`input[value="${tick.value}"]`, next);
    if (same) same.checked = true;
  }
  // Keep what is folded.
  for (const fold of all("details[id]", list)) {
    const same = one(`#${fold.id}`, next);
    if (same) same.open = fold.open;
  }
  list.replaceChildren(...next.childNodes);
  doings(list);
};
const followList = (list) => {
  // One request at a time, so that responses arrive in order.
  let due, turn = Promise.resolve();
  const again = () => {
    if (!due) turn = turn.then(() => { due = 0; return fresh(list); }).catch(() => {});
    due = 1;
  };
  // The activity of an agent changes only its row.
  const doing = (event) => {
    done.set(event.data.slice(0, 36), event.data.slice(37));
    doings(list);
  };
  follow(() => list.dataset.live, { changed: again, doing }, again);
};

// Keyboard shortcuts. The dialog `#keys` lists them.
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
