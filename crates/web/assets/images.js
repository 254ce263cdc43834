// Images and files that users choose, paste or drop: the form's file field contains all of them, and each can be removed again.
"use strict";
all("input[name=images]").forEach((field) => {
  const form = field.form;
  let kept = [];
  const keep = (files) => {
    kept = files;
    const data = new DataTransfer();
    let size = 0;
    for (const file of kept) { data.items.add(file); size += file.size; }
    field.files = data.files;
    field.setCustomValidity(size > 20 << 20 || kept[8] ? "Add up to 8 files and 20 MiB" : "");
    one(".images", form).replaceChildren(...kept.map((file) => {
      const [item, img, out] = ["li", "img", "button"].map((tag) => document.createElement(tag));
      const picture = /^image/.test(file.type);
      if (picture) img.src = URL.createObjectURL(file);
      img.alt = "";
      img.hidden = !picture;
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
    const files = [...(pasted || event.dataTransfer).files];
    // Clipboard content that is also text, such as part of a table, is pasted as text.
    if (!files[0] || pasted?.types.includes("text/plain")) return;
    event.preventDefault();
    keep([...kept, ...files]);
  };
  field.className = "visually-hidden";
  field.onchange = () => keep([...kept, ...field.files]);
  form.onpaste = form.ondrop = add;
  form.ondragover = (event) => event.preventDefault();
  keep([...field.files]);
});
