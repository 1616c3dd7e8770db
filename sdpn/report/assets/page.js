"use strict";
(() => {
  const tip = document.getElementById("tip");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function show(event, text) {
    tip.textContent = text; // never innerHTML: names come from files
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, innerWidth - width - 6);
    const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18;
    tip.style.left = Math.max(6, x) + "px";
    tip.style.top = y + "px";
  }

  // timelines: the x unit of the drawing is the second
  function clock(seconds) {
    if (seconds < 60) return seconds.toFixed(2) + " s";
    const whole = Math.floor(seconds), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
    const s = (seconds - 60 * Math.floor(whole / 60)).toFixed(2).padStart(5, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
  }
  function describe(bar) {
    const from = +bar.getAttribute("x"), length = +bar.getAttribute("width");
    const speakers = bar.parentNode.dataset.k, joined = bar.dataset.n;
    return bar.closest("g[data-who]").dataset.who + (speakers ? `, ${speakers} speakers at once` : "") +
      `\n${clock(from)} – ${clock(from + length)} (${length.toFixed(2)} s)` +
      (joined ? `\n${joined} stretches, too close to tell apart here` : "");
  }
  for (const drawing of all(".timeline svg")) {
    for (const kind of ["pointermove", "pointerdown"]) {
      drawing.addEventListener(kind, (event) => {
        if (event.target.matches("g[data-who] rect")) show(event, describe(event.target));
        else tip.hidden = true;
      });
    }
    drawing.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  for (const button of all("button.zoom")) {
    button.addEventListener("click", () => {
      const zoomed = button.closest(".timeline").classList.toggle("zoomed");
      button.setAttribute("aria-pressed", zoomed);
      all(".scroll", button.closest(".timeline"))[0].tabIndex = zoomed ? 0 : -1; // what scrolls must take arrow keys
    });
  }

  // charts: the nearest point of every line; data-left and data-width say where in the drawing the axes are
  const short = (value) => String(+value.toPrecision(4));
  for (const plot of all(".chart .plot")) {
    const [x0, x1, left, width] = ["x0", "x1", "left", "width"].map((key) => +plot.dataset[key]);
    let lines = null, cursor = null;
    const move = (event) => {
      lines ??= JSON.parse(plot.dataset.lines);
      const box = plot.getBoundingClientRect();
      const at = x0 + (x1 - x0) * ((event.clientX - box.left) / box.width - left) / width;
      let step = null;
      const told = lines.map((line) => {
        let best = 0;
        line.x.forEach((x, i) => { if (Math.abs(x - at) < Math.abs(line.x[best] - at)) best = i; });
        step ??= line.x[best];
        return (line.name ? line.name + ": " : "") + short(line.y[best]) +
          (line.low ? ` (${short(line.low[best])} to ${short(line.high[best])})` : "");
      });
      if (!cursor) {
        cursor = document.createElement("div");
        cursor.className = "cursor";
        plot.append(cursor);
      }
      cursor.hidden = false;
      cursor.style.left = 100 * (left + width * (step - x0) / (x1 - x0)) + "%";
      show(event, `step ${step}\n${told.join("\n")}`);
    };
    plot.addEventListener("pointermove", move);
    plot.addEventListener("pointerdown", move);
    plot.addEventListener("pointerleave", () => { tip.hidden = true; if (cursor) cursor.hidden = true; });
  }

  // order of the recordings, in the table and in the timelines alike
  for (const button of all("button[data-sort]")) {
    button.addEventListener("click", () => {
      const key = button.dataset.sort;
      const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
      const order = key === "name" ? byName : (a, b) => b.dataset.der - a.dataset.der || byName(a, b);
      for (const list of all("[data-sortable]")) list.append(...[...list.children].sort(order));
      for (const each of all("button[data-sort]")) each.setAttribute("aria-pressed", each.dataset.sort === key);
    });
  }

  // which hypotheses are shown; without this script all of them are, one below the other
  const tabs = all("button[data-panel]");
  function open(id) {
    for (const tab of tabs) {
      tab.setAttribute("aria-pressed", tab.dataset.panel === id);
      document.getElementById(tab.dataset.panel).hidden = tab.dataset.panel !== id;
    }
  }
  for (const tab of tabs) tab.addEventListener("click", () => open(tab.dataset.panel));
  if (tabs.length) open(tabs[0].dataset.panel);
  for (const link of all(".recordings a")) {
    link.addEventListener("click", () => { if (tabs.length) open(tabs[0].dataset.panel); });
  }

  addEventListener("beforeprint", () => { for (const each of all("details")) each.open = true; });
})();
