// What the page gains with scripts. Without them everything is there: in tables, in titles and in <details>.
"use strict";
(() => {
  const make = (tag, set = {}, ...children) => {
    const one = Object.assign(document.createElement(tag), set);
    one.append(...children);
    return one;
  };
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Points name themselves.
  const tip = make("div", { className: "tip", role: "tooltip", id: "tip", hidden: true });
  document.body.append(tip);
  for (const point of all(".pt")) {
    const title = point.querySelector("title");
    if (!title) continue;
    point.dataset.name = title.textContent;
    point.setAttribute("aria-label", title.textContent);
    point.setAttribute("role", "img");
    title.remove(); // or the browser shows it as well
  }
  const name = (event) => {
    const point = event.target.closest && event.target.closest(".pt");
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = point.dataset.name;
    const box = point.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 4), wide - tip.offsetWidth - 4);
    const above = box.top - tip.offsetHeight - 6;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 0 ? above : box.bottom + 6) + scrollY}px`;
  };
  document.addEventListener("pointerover", name);
  document.addEventListener("focusin", name);
  document.addEventListener("focusout", () => { tip.hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  // Tables sort by a click on a column's head, and filter.
  const valueOf = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const plain = text.replaceAll("−", "-").replaceAll(",", "").replace(/^[[<+]\s*/, "");
    const number = /^-?(\d|\.\d)/.test(plain) ? parseFloat(plain) : NaN;
    return { text, number, none: text === "–" || text === "" };
  };
  const sort = (table, head, column) => {
    const body = table.tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    const numeric = rows.every(([value]) => value.none || !Number.isNaN(value.number));
    rows.sort(([a], [b]) => {
      if (a.none || b.none) return a.none - b.none;
      const order = numeric ? a.number - b.number : a.text.localeCompare(b.text, undefined, { numeric: true });
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  };
  const mostWithoutFilter = 6;
  for (const table of all("table.numbers")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
    const rows = [...table.tBodies[0].rows];
    if (rows.length <= mostWithoutFilter || table.closest(".browser")) continue;
    const field = make("input", { type: "search", placeholder: "Filter rows", className: "filter" });
    field.setAttribute("aria-label", "Filter the rows of the table below");
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    table.closest(".scroll").before(field);
  }

  // A size, control and outcome can be chosen.
  const labelled = (text, field) => make("label", {}, `${text} `, field);
  const selectOf = (pairs) => make("select", {}, ...pairs.map(([value, text]) => make("option", { value }, text)));
  for (const box of all(".choices")) {
    const panels = all(".panel", box);
    const details = box.querySelector("details");
    box.append(...panels);
    details.remove();
    const bar = make("div", { className: "bar" });
    const fields = {};
    let chosen = panels[0];
    const show = () => {
      for (const panel of panels) panel.hidden = panel !== chosen;
      for (const [key, field] of Object.entries(fields)) field.value = chosen.dataset[key];
    };
    for (const [key, text] of [["size", "Size"], ["control", "Compared with"], ["outcome", "Outcome"]]) {
      const values = new Map(panels.map((panel) => [panel.dataset[key], panel.dataset[`${key}Name`]]));
      if (values.size < 2) continue;
      const field = (fields[key] = selectOf([...values]));
      field.name = key;
      field.addEventListener("change", () => {
        // Not every control has every size: of those with what was just chosen, the one most like what was shown.
        const shared = (panel) => Object.keys(fields).filter((k) => panel.dataset[k] === chosen.dataset[k]).length;
        const some = panels.filter((panel) => panel.dataset[key] === field.value);
        chosen = some.reduce((best, panel) => (shared(panel) > shared(best) ? panel : best));
        show();
      });
      bar.append(labelled(text, field));
    }
    box.querySelector(".choices-title").after(bar);
    show();
  }

  // Neurons can be looked up.
  const mostShown = 12;
  for (const browser of all(".browser")) {
    const lists = all(".list", browser);
    const cards = all(".card", browser);
    const byName = new Map(cards.map((card) => [card.querySelector("[id]").id, card]));
    browser.querySelector(".cards").remove();
    const pane = make("div", { className: "pane" });
    const message = make("p", { className: "note" });
    message.setAttribute("role", "status");
    const put = (some) => {
      for (const card of some) card.open = true;
      pane.replaceChildren(...some.slice(0, mostShown));
      const known = new Set(some.map((card) => `#${card.querySelector("[id]").id}`));
      for (const link of all("td a", browser)) link.closest("tr").classList.toggle("shown", known.has(link.hash));
    };
    const choose = (number) => {
      for (const list of lists) {
        list.hidden = list.dataset.list !== number;
        list.open = !list.hidden;
        if (!list.hidden) put([byName.get(list.querySelector("td a").hash.slice(1))]);
      }
      message.textContent = "";
    };
    const names = lists.map((list) => [list.dataset.list, list.querySelector("summary").textContent]);
    const attribute = selectOf(names);
    attribute.name = "attribute";
    attribute.addEventListener("change", () => choose(attribute.value));
    const numeric = (key) => make("input", { type: "search", inputMode: "numeric", size: 6, name: key });
    const fields = { layer: numeric("layer"), unit: numeric("unit") };
    const search = () => {
      const wanted = Object.entries(fields).map(([key, field]) => [key, field.value.trim()]).filter(([, v]) => v);
      if (!wanted.length) return choose(attribute.value);
      const found = cards.filter((card) => wanted.every(([key, value]) => card.dataset[key] === value));
      put(found);
      const place = wanted.length === 2 ? wanted.map(([, value]) => value).join(":") : "LAYER:UNIT";
      message.textContent = !found.length
        ? `None of the ${cards.length} neurons listed here. emoscale top RUN --neuron ${place} prints any.`
        : found.length > mostShown ? `The first ${mostShown} of ${found.length}.` : `${found.length} found.`;
    };
    for (const field of Object.values(fields)) field.addEventListener("input", search);
    const bar = make("div", { className: "bar" }, labelled("Attribute", attribute));
    bar.append(labelled("Layer", fields.layer), labelled("Unit", fields.unit));
    browser.prepend(bar);
    browser.append(message, pane);
    browser.classList.add("live");
    const open = (hash) => {
      const card = byName.get(hash.slice(1));
      if (card) put([card]);
      return card;
    };
    browser.addEventListener("click", (event) => {
      const link = event.target.closest("td a");
      if (link && open(link.hash)) event.preventDefault();
    });
    choose(lists[0].dataset.list);
    if (open(location.hash)) pane.scrollIntoView();
  }
})();
