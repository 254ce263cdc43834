// The transcript of a task: follows its end, shows the number of new events to readers further up, and limits its size.
"use strict";
(() => {
  const list = one("#transcript[data-live]");
  const pill = one("#more");
  // The most entries and characters of a growing text to keep, and the limits per frame: characters of markup, and milliseconds.
  const MOST = 500, MOST_TEXT = 16e3, FRAME_SIZE = 24e3, FRAME_TIME = 8;
  const atEnd = () => scrollY + innerHeight > document.documentElement.scrollHeight - 160;
  const toEnd = () => scrollTo(0, 1e9);
  const parsed = (html) => {
    const part = document.createElement("template");
    part.innerHTML = html;
    ages(part.content);
    return part.content;
  };
  let place = list.dataset.live, unseen = 0, visit = 0, queue = [], news, frame;
  const tell = () => { pill.hidden = !unseen; pill.textContent = unseen + " new ↓"; };
  const seen = () => { unseen = 0; tell(); };
  pill.addEventListener("click", () => { seen(); toEnd(); });
  addEventListener("scroll", () => { if (unseen && atEnd()) seen(); }, { passive: true });
  toEnd();

  const words = (it) => it.dataset.lines?.split(" ") || [];
  const older = (it) => it?.matches(".older");
  // Creates the link that loads dropped entries.
  const link = (word) => {
    const [run, before] = word.split(":");
    const href = location.pathname + `/runs/${run}/older?before=${before}`;
    return one("li", parsed(`<li class="entry older"><a class="button" href="${href}" hx-get="${href}" hx-target="closest li" hx-swap="outerHTML">Load earlier events</a></li>`));
  };
  const drop = (entries) => entries.forEach((it, n) => {
    const [before, after] = [it.previousElementSibling, it.nextElementSibling];
    if (older(before)) before.remove();
    // Replace the last entry of a row with the link.
    if (older(after) || after && after === entries[n + 1]) return it.remove();
    const left = link(words(it)[0]);
    it.replaceWith(left);
    htmx.process(left);
  });

  const add = (next, out, follows) => {
    const known = next.id && (document.getElementById(next.id) || out.getElementById(next.id));
    if (known && (known.dataset.open !== undefined || /^(end|run)-/.test(next.id))) {
      // A new connection sends the end of a run again. Do not close what the user reads.
      if (one("details.artifacts[open]", known)) return;
      if (next.dataset.lines) next.dataset.lines = words(known)[0] + " " + words(next).pop();
      next.visit = known.visit;
      known.replaceWith(next);
    } else {
      next.visit = follows ? 0 : visit;
      if (!follows) unseen += 1;
      out.append(next);
    }
  };
  const show = (html) => {
    const state = one("#state");
    if (state.contains(document.activeElement) && document.activeElement.matches("input, textarea")) return;
    const next = parsed(html).firstElementChild;
    const open = one("details.publish", state)?.open;
    if (open !== undefined && one("details.publish", next)) one("details.publish", next).open = open;
    state.replaceWith(next);
  };
  // Runs once per frame. Reads the layout before all changes and scrolls after them.
  const flush = () => {
    const follows = atEnd(), out = document.createDocumentFragment(), live = [];
    const until = performance.now() + FRAME_TIME;
    for (let size = 0; queue.length && size < FRAME_SIZE && performance.now() < until;) {
      const html = queue.shift();
      size += html.length;
      for (const next of [...parsed(html).children]) {
        add(next, out, follows);
        if (one("[hx-get]", next)) live.push(next);
      }
    }
    list.append(out);
    live.forEach((it) => htmx.process(it));
    // While a user reads further up, drop only entries that arrived since then.
    if (follows) visit += 1;
    drop([...list.children].filter((it) => it.dataset.lines && (follows || it.visit === visit)).slice(0, -MOST));
    write();
    if (news) { show(news); news = ""; }
    if (follows) toEnd();
    if (unseen) tell();
    frame = 0;
    if (queue.length) later();
  };
  const later = () => { frame ||= requestAnimationFrame(flush); };
  const entry = (event) => {
    const [run, offset] = event.lastEventId.split(":");
    if (offset) place = place.replace(/run=.*/, `run=${run}&offset=${offset}`);
    queue.push(event.data);
    later();
  };
  // Text of items that are not complete yet, by the ID of their entry.
  const texts = new Map();
  const write = () => {
    for (const [id, it] of texts) {
      let entry = document.getElementById(id);
      if (it.over) {
        texts.delete(id);
        if (entry?.matches(".writing")) entry.remove();
        continue;
      }
      // The entry of a command exists as long as the command runs.
      if (!entry && it.kind !== "command") {
        entry = one("li", parsed(`<li class="entry writing"><div class="agent"></div></li>`));
        entry.id = id;
        list.append(entry);
      }
      if (!entry || !entry.matches(".writing, [data-open]")) { texts.delete(id); continue; }
      let output = one("pre.writing", entry);
      if (!output) {
        output = document.createElement("pre");
        output.className = "output writing";
        entry.firstElementChild.append(output);
      }
      const below = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
      output.textContent = it.text;
      if (below) output.scrollTop = output.scrollHeight;
    }
  };
  const text = (event) => {
    const news = JSON.parse(event.data), known = texts.get(news.id);
    if (!news.id || news.over && !known && !document.getElementById(news.id)?.matches(".writing")) return;
    const before = known && known.end === news.start ? known.text : "";
    texts.set(news.id, { ...news, text: (before + news.text).slice(-MOST_TEXT) });
    later();
  };
  const state = (event) => { news = event.data; later(); };
  const end = follow(() => place, { entry, state, text, gone: () => { end(); location.href = "/"; } });

  // Loaded entries can overlap with existing ones. Show each line of the log once.
  document.addEventListener("htmx:after:swap", () => {
    const known = new Set(), ends = {};
    for (const it of [...list.children]) {
      const [, run, before] = older(it) && /(\d+)\/older\?before=(\d+)/.exec(it.firstChild.href) || [];
      if (run && ends[run] >= +before || words(it).some((word) => known.has(word))) { it.remove(); continue; }
      words(it).forEach((word) => known.add(word));
      const [own, first] = (words(it)[0] || "").split(":");
      if (own) ends[own] = +first;
    }
  });
})();
