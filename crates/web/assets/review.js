// The review page: "Viewed" checkboxes that reset when a file's changes differ, and comment boxes below lines.
"use strict";
(() => {
  const form = one("form[data-review]");
  for (const file of all(".file")) {
    const tick = one("[data-viewed]", file);
    const mark = "viewed:" + file.dataset.mark;
    const show = () => { if (tick.checked) one("details", file).open = false; };
    tick.checked = localStorage.getItem(mark);
    show();
    tick.onchange = () => {
      localStorage[tick.checked ? "setItem" : "removeItem"](mark, 1);
      show();
    };
  }
  one("[data-all-viewed]")?.addEventListener("submit", () => all("[data-viewed]:not(:checked)").forEach((tick) => tick.click()));
  // The fields of a comment box, in order: path, side, first line, last line, text.
  const draft = key(form.dataset.draft) + ":lines";
  const parts = (note) => all("[name]", note);
  const notes = () => all(".note");
  const keep = () => {
    const kept = notes().map((note) => parts(note).map((it) => it.value)).filter((it) => it[4]);
    localStorage.setItem(draft, JSON.stringify(kept));
    const n = kept.length;
    one(".composer button").textContent = "Send " + (n ? n + " " : "") + (n == 1 ? "comment" : "comments");
  };
  const add = (it) => {
    const [path, side, first, last] = it;
    const file = all(".file").find((file) => file.dataset.path === path);
    const row = file && all(".diff tr", file).find((row) => all(".n", row)[+(side == "new")]?.textContent == last);
    const note = one("#note").content.firstElementChild.cloneNode(true);
    parts(note).forEach((part, n) => { part.value = it[n]; });
    one(".where", note).textContent = `${path}:${first}${last > first ? "–" + last : ""}${side == "old" ? " (old)" : ""}`;
    (row || one(".lost tr")).after(note);
    return note;
  };
  let anchor = [];
  const place = (cell) => {
    const row = cell.parentNode;
    const [was, is] = all(".n", row).map((it) => +it.textContent);
    const side = !is || (cell.cellIndex < 2 && one(".del", row)) ? "old" : "new";
    return [row.closest(".file").dataset.path, side, side == "old" ? was : is];
  };
  const open = (from, [path, side, line]) => {
    anchor = from[0] === path && from[1] === side ? from : [path, side, line];
    const first = anchor[2];
    notes().forEach((note) => parts(note)[4].value || note.remove());
    one("textarea", add([path, side, Math.min(first, line), Math.max(first, line), ""])).focus();
    keep();
  };
  const comment = (cell, on) => open(on ? anchor : [], place(cell));

  // Users can comment on selected text, since a phone has no Shift key to hold.
  const pill = one("#selected");
  let chosen = [];
  const cellOf = (node) => (node.closest ? node : node.parentNode).closest(".diff td:not(.note *)");
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    const range = !selection.isCollapsed && selection.getRangeAt(0);
    const start = range && cellOf(range.startContainer);
    const rows = start ? all(".diff tr", start.closest(".file")) : [];
    // In split view, use the column in which the selection ends.
    const column = start && (cellOf(range.endContainer) || start).cellIndex;
    chosen = rows.filter((row) => one(".n", row) && range.intersectsNode(row)).map((row) => row.cells[column] || row.lastChild);
    pill.hidden = !chosen[0];
  });
  const onChosen = (event) => {
    event.preventDefault();
    const places = chosen.map(place);
    const now = places.filter((it) => it[1] == "new");
    const of = now[0] ? now : places;
    if (of[0]) open(of[0], of.at(-1));
  };
  // A tap clears the selection, so react to its start.
  pill.onpointerdown = pill.onclick = onChosen;
  form.onclick = ({ target, shiftKey }) => {
    const cell = target.closest(".diff td");
    if (target.matches("[data-drop]")) { target.closest(".note").remove(); keep(); }
    else if (cell && !cell.closest(".note") && (shiftKey || !String(getSelection()))) comment(cell, shiftKey);
  };
  keys.c = keys.C = (event) => {
    const row = one("tr.chosen");
    if (chosen[0]) onChosen(event);
    else if (row) comment(row.lastChild, event.shiftKey);
  };
  form.oninput = keep;
  JSON.parse(localStorage.getItem(draft) || "[]").forEach(add);
  keep();
})();
