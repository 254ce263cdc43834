// What a page does beyond links and forms: it follows what happens, keeps drafts, and knows a few keys.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);

  // Ages, in words that stay true.
  const age = (time) => {
    const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    const [n, unit] = seconds < 60 ? [0, "just now"] : seconds < 3600 ? [seconds / 60, " min ago"]
      : seconds < 86400 ? [seconds / 3600, " h ago"] : [seconds / 86400, " d ago"];
    time.title ||= time.textContent;
    time.textContent = n ? Math.floor(n) + unit : unit;
  };
  const ages = (root = document) => all("time[data-age]", root).forEach(age);
  setInterval(ages, 30000);

  // Text fields that grow, keep their drafts, and are sent by Ctrl or Command and Enter.
  const grow = (field) => {
    field.style.height = "auto";
    field.style.height = field.scrollHeight + 2 + "px";
  };
  const key = (form) => "draft:" + form.dataset.draft;
  const fields = () => {
    for (const form of all("form[data-draft]")) {
      const field = one("textarea", form);
      if (field.dataset.ready) continue;
      field.dataset.ready = "1";
      field.value ||= localStorage.getItem(key(form)) || "";
      field.addEventListener("input", () => localStorage.setItem(key(form), field.value));
    }
    for (const field of all("textarea[data-grow]")) {
      if (field.dataset.grows) continue;
      field.dataset.grows = "1";
      field.addEventListener("input", () => grow(field));
      if (field.value) grow(field);
    }
  };
  document.addEventListener("keydown", (event) => {
    const field = event.target;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && field.matches?.("textarea[data-send]")) {
      event.preventDefault();
      field.form.requestSubmit();
    }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.ask && !confirm(form.dataset.ask)) return event.preventDefault();
    if (form.dataset.draft) localStorage.removeItem(key(form));
    // A double tap sends it once.
    setTimeout(() => all("button[type=submit]", form).forEach((button) => { button.disabled = true; }));
  });
  addEventListener("pageshow", () => all("button[disabled]").forEach((button) => { button.disabled = false; }));

  // Whether what is seen can be believed.
  const connection = one("#connection");
  const say = (text) => { if (connection) { connection.hidden = !text; connection.textContent = text; } };
  addEventListener("offline", () => say("Offline: what you see may be old."));
  addEventListener("online", () => say(""));

  // Images that were chosen, pasted or dropped: all are in the form's own field, and each can be taken out again.
  const images = (field) => {
    const form = field.form;
    let kept = [];
    const keep = (files) => {
      kept = files;
      const data = new DataTransfer();
      let size = 0;
      for (const file of kept) { data.items.add(file); size += file.size; }
      field.files = data.files;
      field.setCustomValidity(size > 20 << 20 || kept[8] ? "8 images, 20 MiB at most" : "");
      one(".images", form).replaceChildren(...kept.map((file) => {
        const [item, img, out] = ["li", "img", "button"].map((tag) => document.createElement(tag));
        img.src = URL.createObjectURL(file);
        img.alt = "";
        out.type = "button";
        out.textContent = "✕";
        out.ariaLabel = "Remove " + file.name;
        out.onclick = () => { keep(kept.filter((other) => other !== file)); field.focus(); };
        item.append(img, file.name, out);
        return item;
      }));
    };
    const add = (event) => {
      const pasted = event.clipboardData;
      const files = [...(pasted || event.dataTransfer).files].filter((file) => /^image/.test(file.type));
      // What is text too, such as a part of a table, is pasted as text.
      if (!files[0] || pasted?.types.includes("text/plain")) return;
      event.preventDefault();
      keep([...kept, ...files]);
    };
    field.className = "visually-hidden";
    field.onchange = () => keep([...kept, ...field.files]);
    form.onpaste = form.ondrop = add;
    form.ondragover = (event) => event.preventDefault();
    keep([...field.files]);
  };

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
  };
  const followList = (list) => {
    const again = () => fresh(list).catch(() => {});
    // Only a row of its own changes with what an agent does.
    const doing = (event) => {
      const row = one(`[data-activity="${event.data.slice(0, 36)}"]`, list);
      if (row) row.textContent = event.data.slice(37);
    };
    follow(() => list.dataset.live, { changed: again, doing }, again);
  };

  // A transcript goes on at its end; who reads further up is only told.
  const followTask = (list) => {
    const pill = one("#more");
    const atEnd = () => scrollY + innerHeight > document.documentElement.scrollHeight - 160;
    const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);
    let unseen = 0;
    const tell = () => { pill.hidden = !unseen; pill.textContent = unseen + " new ↓"; };
    pill.addEventListener("click", () => { unseen = 0; tell(); toEnd(); });
    addEventListener("scroll", () => { if (atEnd() && unseen) { unseen = 0; tell(); } }, { passive: true });
    toEnd();
    let place = list.dataset.live;
    const entry = (event) => {
      const [run, offset] = event.lastEventId.split(":");
      if (offset) place = place.replace(/run=.*/, `run=${run}&offset=${offset}`);
      const part = document.createElement("template");
      part.innerHTML = event.data;
      const next = part.content.firstElementChild;
      if (!next) return;
      ages(next);
      const follows = atEnd();
      const known = next.id && document.getElementById(next.id);
      if (known && (known.dataset.open !== undefined || /^(end|run)-/.test(next.id))) known.replaceWith(next);
      else {
        list.append(next);
        if (!follows) { unseen += 1; tell(); }
      }
      if (follows) toEnd();
    };
    const show = (event) => {
      const state = one("#state");
      if (state.contains(document.activeElement) && document.activeElement.matches("input, textarea")) return;
      const part = document.createElement("template");
      part.innerHTML = event.data;
      const open = one("details.publish", state)?.open;
      const next = part.content.firstElementChild;
      if (open !== undefined && one("details.publish", next)) one("details.publish", next).open = open;
      ages(next);
      state.replaceWith(next);
    };
    const end = follow(() => place, { entry, state: show, gone: () => { end(); location.href = "/"; } });
  };

  // Review: ticks that last as long as a file's changes, and comments on lines.
  const review = (form) => {
    const field = one("textarea", form);
    for (const file of all(".file", form)) {
      const tick = one("[data-viewed]", file);
      const mark = "viewed:" + file.dataset.mark;
      tick.checked = localStorage.getItem(mark) === "1";
      const details = one("details", file);
      if (tick.checked) details.open = false;
      tick.addEventListener("change", () => {
        if (tick.checked) localStorage.setItem(mark, "1"); else localStorage.removeItem(mark);
        details.open = !tick.checked;
      });
    }
    form.addEventListener("click", (event) => {
      const line = event.target.closest("tr[data-path]");
      if (!line || String(getSelection())) return;
      const code = all(".code", line).pop().textContent;
      field.value += `${field.value ? "\n\n" : ""}${line.dataset.path}:${line.dataset.line}\n> ${code}\n`;
      field.dispatchEvent(new Event("input"));
      field.focus();
      field.setSelectionRange(field.value.length, field.value.length);
    });
  };

  // Keys: j and k to the next and the one before, x ticks, o opens, / searches, ? tells.
  let at = -1;
  const step = (by) => {
    const stops = all("li.task, .file, ol.transcript > li");
    if (!stops.length) return;
    stops[at]?.classList.remove("chosen");
    at = Math.min(stops.length - 1, Math.max(0, at + by));
    stops[at].classList.add("chosen");
    stops[at].scrollIntoView({ block: "nearest" });
    one("a, summary", stops[at])?.focus();
  };
  const keys = {
    j: () => step(1), n: () => step(1), k: () => step(-1), p: () => step(-1),
    x: () => one(".chosen [data-viewed], .chosen .pick input")?.click(),
    "/": () => one("input[type=search], .composer textarea")?.focus(),
    "?": () => alert("j, n: next\nk, p: before\nEnter: open\nx: viewed\n/: search or write\nCtrl or ⌘ + Enter: send"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
    const deed = keys[event.key];
    if (deed) { event.preventDefault(); deed(); }
  });

  ages();
  fields();
  all("input[name=images]").forEach(images);
  const list = one("#list[data-live]");
  if (list) followList(list);
  const transcript = one("#transcript[data-live]");
  if (transcript) followTask(transcript);
  const form = one("form[data-review]");
  if (form) review(form);
})();
