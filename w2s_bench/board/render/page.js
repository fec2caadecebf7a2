"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = JSON.parse($("#data").textContent);
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    if (name) node.className = name;
    return node;
  };

  // --- theme: the system's, until somebody chooses
  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("w2s-theme"); } catch { return null; } })();
  const system = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = theme => { root.dataset.theme = theme; $("#theme").setAttribute("aria-pressed", theme === "dark"); };
  setTheme(stored || (system.matches ? "dark" : "light"));
  system.addEventListener("change", event => { if (!stored) setTheme(event.matches ? "dark" : "light"); });
  $("#theme").addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    setTheme(theme);
    try { localStorage.setItem("w2s-theme", theme); } catch { /* a page from a file may have no storage */ }
  });

  // --- filters, kept in the address so that a view can be linked
  const filters = $$("[data-filter]");
  const rows = $$("tr.row");
  const text = new Map(rows.map(r => [r, [r.cells[0].dataset.value, r.dataset.task, r.dataset.pair, r.dataset.varied, r.dataset.suite]
    .join(" ").toLowerCase()]));
  const read = () => Object.fromEntries(filters.map(f => [f.dataset.filter, f.type === "checkbox" ? f.checked : f.value]));
  const show = () => {
    const want = read();
    const words = want.search.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const d = row.dataset;
      row.hidden = !(
        (!want.suite || d.suite === want.suite) && (!want.track || d.track === want.track) &&
        (row.dataset.kind === "overall" || ((!want.task || d.task === want.task) && (!want.pair || d.pair === want.pair))) &&
        (!want.varied || d.varied === want.varied) && (want.controls || d.control !== "true") && words.every(w => text.get(row).includes(w)));
    }
    for (const section of $$("[data-suite-section]")) section.hidden = want.suite && section.dataset.suiteSection !== want.suite;
    const left = rows.filter(r => r.dataset.kind === "cell" && !r.hidden).length;
    $("#count").textContent = `${left} rows`;
    const query = new URLSearchParams();
    for (const filter of filters) {
      const value = want[filter.dataset.filter];
      if (value !== (filter.type === "checkbox" ? true : "")) query.set(filter.dataset.filter, value);
    }
    try { history.replaceState(null, "", query.size ? `#${query}` : "#"); } catch { /* not where there is no address */ }
  };
  const given = new URLSearchParams(location.hash.slice(1));
  for (const filter of filters) {
    const value = given.get(filter.dataset.filter);
    if (value !== null) { if (filter.type === "checkbox") filter.checked = value !== "false"; else filter.value = value; }
    filter.addEventListener("input", show);
  }

  // --- sorting: numbers by data-value, missing ones last whichever the direction
  for (const table of $$("table.sortable")) {
    const body = $("tbody", table);
    $$("thead th", table).forEach((head, column) => {
      $("button", head)?.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.dataset.first === "down";
        $$("thead th", table).forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const words = head.dataset.sort === "text";
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          return (words ? x.localeCompare(y, undefined, { numeric: true }) : x - y) * (down ? -1 : 1);
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }

  // --- details of a row
  const dialog = $("#details");
  const digits = [0, 0, 4, 4, 4, 3, 1, 0]; // of seed, status, floor, student, ceiling, PGR, seconds, record
  const names = new Map($$("tr.row[data-index]").map(r => [r.dataset.index, { mitigation: r.cells[0].dataset.value, ...r.dataset }]));
  const pretty = value => JSON.stringify(value, null, 1);
  const open = index => {
    const row = data.rows[index];
    const { mitigation, task, pair, varied } = names.get(index);
    const title = `${mitigation}: ${[task, pair, varied].filter(Boolean).join(", ")}`;
    const inside = $("#inside");
    inside.replaceChildren(make("h2", title), make("p", row.about, "soft"));
    if (row.answers) inside.append(make("p", row.answers, "soft"));
    if (row.reasons.length) inside.append(make("p", `Failures: ${row.reasons.join("; ")}`, "warn"));
    const scroll = make("div", null, "scroll");
    const table = make("table");
    const head = make("tr");
    for (const title of ["seed", "status", "floor", "student", "ceiling", "PGR", "seconds", "record"]) head.append(make("th", title));
    table.append(head);
    for (const cell of row.cells) {
      const line = make("tr");
      cell.slice(0, 8).forEach((value, k) => line.append(make("td", value === null ? "–" : digits[k] ? value.toFixed(digits[k]) : value)));
      table.append(line);
    }
    scroll.append(table);
    inside.append(scroll, make("h3", "Rerun"));
    for (const cell of row.cells) {
      const command = row.command ? row.command + cell[0] : cell[9];
      if (!command) continue;
      const box = make("div", null, "command");
      const copy = make("button", "Copy");
      copy.type = "button";
      copy.addEventListener("click", () => navigator.clipboard?.writeText(command).then(() => { copy.textContent = "Copied"; }));
      box.append(make("pre", command), copy);
      inside.append(box);
    }
    const options = Object.fromEntries(Object.entries(row.options).map(([k, at]) => [k, data.shared[at]]));
    inside.append(make("h3", "Options"), make("pre", pretty(options)), make("h3", "Provenance"));
    const sources = row.cells.map(cell => {
      const { plugins, ...source } = data.shared[cell[8]];
      return pretty(Array.isArray(plugins) ? { ...source, plugins: plugins.map(at => data.shared[at]) } : source);
    });
    for (const source of new Set(sources)) inside.append(make("pre", source));
    dialog.showModal();
  };
  for (const row of $$("tr.row[data-index]")) row.addEventListener("click", () => open(row.dataset.index));
  $("#details .close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  show();
})();
