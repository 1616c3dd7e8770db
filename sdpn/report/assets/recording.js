"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const data = JSON.parse(by("data").textContent);
  const { duration, speakers, turns } = data;
  function bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const letters = atob(text), found = new Uint8Array(letters.length);
    for (let index = 0; index < letters.length; index++) found[index] = letters.charCodeAt(index);
    return found;
  }
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (speaker) => css(speaker < 0 || data.colours[speaker] === "unmatched" ? "--quiet" : "--" + data.colours[speaker]);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function clock(seconds, digits = 2) {
    if (duration < 60) return seconds.toFixed(digits) + " s";
    const unit = 10 ** digits, all = Math.round(seconds * unit), whole = Math.floor(all / unit);
    const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
    const s = ((all - 60 * unit * Math.floor(whole / 60)) / unit).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return duration >= 3600 ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
  }

  const tip = by("tip");
  function show(event, text) {
    tip.textContent = text; // never innerHTML: names come from files
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18;
    tip.style.left = clamp(event.clientX + 14, 6, innerWidth - width - 6) + "px";
    tip.style.top = y + "px";
  }
  const hide = () => { tip.hidden = true; };

  // the audio: in this page, or in the file beside it
  const media = new Audio();
  media.preload = data.audio ? "metadata" : "auto"; // a day is 173 MB
  const opus = [...document.querySelectorAll("script.opus")];
  const blob = opus.map((piece) => bytes(piece.textContent));
  for (const piece of opus) piece.remove(); // a copy is in the blob
  const source = opus.length ? URL.createObjectURL(new Blob(blob, { type: "audio/ogg" })) : data.audio;
  function fail(text) { by("problem").textContent = text; by("problem").hidden = false; by("play").disabled = true; }
  if (source) {
    media.addEventListener("error", () => fail(data.audio
      ? `The audio is in the file ${data.audio}, which has to lie beside this page, or this browser cannot play Opus. Everything else works.`
      : "This browser cannot play Opus, so there is no sound. Everything else works."));
    media.addEventListener("loadedmetadata", () => { by("play").disabled = false; });
    media.src = source;
  }
  let at = 0; // without audio, the time that was clicked last
  const now = () => (source && !media.error ? media.currentTime : at);

  // the waveform
  let wave = null;
  if (data.peaks) {
    const peaks = Float32Array.from(bytes(data.peaks), (peak) => peak / 255);
    wave = WaveSurfer.create({
      container: by("wave"), media: source ? media : undefined, peaks: [peaks], duration, height: 96,
      waveColor: css("--quiet"), progressColor: css("--accent"), cursorColor: css("--ink"), cursorWidth: 1,
      autoScroll: true, autoCenter: false, dragToSeek: true, hideScrollbar: false,
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => wave.setOptions({
      waveColor: css("--quiet"), progressColor: css("--accent"), cursorColor: css("--ink") }));
  }

  // the lanes follow the waveform: they show the stretch that it shows
  const drawing = document.querySelector("#stage svg");
  const plot = document.querySelector("#stage .plot"), ticks = document.querySelector("#stage .ticks");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  if (plot) plot.append(cursor);
  let from = 0, to = duration;
  function visible() {
    if (!wave) return [0, duration];
    const whole = wave.getWrapper().scrollWidth || 1, width = wave.getWidth();
    const first = duration * wave.getScroll() / whole;
    return [first, Math.min(duration, first + duration * Math.min(1, width / whole))];
  }
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  function follow() {
    [from, to] = visible();
    if (!drawing) return;
    drawing.setAttribute("viewBox", `${from} 0 ${to - from} ${drawing.getAttribute("height")}`);
    const step = steps.find((each) => (to - from) / each <= 6) ?? 28800;
    const marks = [];
    for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
      const mark = document.createElement("span"), share = (time - from) / (to - from);
      mark.textContent = clock(time, step < 1 ? 1 : 0);
      mark.className = share < 0.04 ? "from" : share > 0.96 ? "to" : "";
      mark.style.left = 100 * share + "%";
      marks.push(mark);
    }
    ticks.replaceChildren(...marks);
    move();
  }
  function move() {
    const time = now(), share = (time - from) / (to - from);
    cursor.hidden = share < 0 || share > 1;
    cursor.style.left = 100 * share + "%";
    by("time").value = clock(time) + " / " + clock(duration, 0);
    mark(time);
  }
  let zoom = 1;
  // at most: four seconds across, and no wider than what browsers can lay out
  const most = () => Math.max(1, Math.min(duration / 4, 16e6 / (wave.getWidth() || 1)));
  function zoomTo(factor) {
    if (!wave) return;
    zoom = clamp(factor, 1, most());
    wave.zoom(zoom === 1 ? 0 : zoom * wave.getWidth() / duration);
    wave.setScrollTime(Math.max(0, now() - duration / zoom / 2));
    follow();
  }
  by("in").addEventListener("click", () => zoomTo(zoom * 2));
  by("out").addEventListener("click", () => zoomTo(zoom / 2));
  if (wave) for (const event of ["scroll", "zoom", "redrawcomplete", "ready"]) wave.on(event, follow);
  addEventListener("resize", () => requestAnimationFrame(follow));

  function seek(time) {
    at = clamp(time, 0, duration);
    if (source && !media.error) media.currentTime = at; else if (wave) wave.setTime(at);
    if (at < from || at > to) { if (wave) wave.setScrollTime(Math.max(0, at - (to - from) / 2)); follow(); }
    move();
  }
  function playFrom(time) { seek(time); if (source && !media.error) media.play().catch(() => {}); }
  if (wave) wave.on("interaction", (time) => { at = time; move(); });

  // turns in the lanes
  if (drawing) {
    const timeOf = (event) => {
      const box = drawing.getBoundingClientRect();
      return from + (to - from) * (event.clientX - box.left) / box.width;
    };
    drawing.addEventListener("click", (event) => playFrom(timeOf(event)));
    drawing.addEventListener("pointermove", (event) => {
      const bar = event.target.closest("g[data-who]");
      if (!bar || event.target.tagName !== "rect") return hide();
      const start = +event.target.getAttribute("x"), length = +event.target.getAttribute("width");
      show(event, `${bar.dataset.who}\n${clock(start)} – ${clock(start + length)} (${length.toFixed(2)} s)`);
    });
    drawing.addEventListener("pointerleave", hide);
  }

  // playing
  const play = by("play");
  const toggle = () => { if (source && !media.error) media.paused ? media.play().catch(() => {}) : media.pause(); };
  play.addEventListener("click", toggle);
  for (const event of ["play", "pause"]) media.addEventListener(event, () => {
    play.textContent = media.paused ? "play" : "pause";
    play.setAttribute("aria-pressed", !media.paused);
    if (!media.paused) requestAnimationFrame(tick);
  });
  function tick() {
    if (only !== null) {
      const time = media.currentTime;
      if (!turns.some(([start, end, speaker]) => speaker === only && time >= start - 0.05 && time < end)) {
        const next = turns.find(([start, , speaker]) => speaker === only && start > time);
        if (next) media.currentTime = next[0]; else media.pause();
      }
    }
    move();
    if (!media.paused) requestAnimationFrame(tick);
  }
  for (const event of ["seeked", "timeupdate"]) media.addEventListener(event, move);
  const starts = (keep) => turns.filter(keep).map(([start]) => start);
  function nextTurn(keep = () => true) { const next = starts(keep).find((start) => start > now() + 0.05); if (next !== undefined) playFrom(next); }
  function previousTurn() { const before = starts(() => true).filter((start) => start < now() - 0.5); if (before.length) playFrom(before.at(-1)); }
  by("next").addEventListener("click", () => nextTurn());
  by("back").addEventListener("click", previousTurn);
  const speeds = [0.5, 0.75, 1, 1.25, 1.5, 2, 3];
  function speedTo(rate) { media.playbackRate = rate; by("speed").textContent = rate + " ×"; }
  const faster = (step) => speedTo(speeds[clamp(speeds.indexOf(media.playbackRate) + step, 0, speeds.length - 1)]);
  by("faster").addEventListener("click", () => faster(1));
  by("slower").addEventListener("click", () => faster(-1));
  by("speed").addEventListener("click", () => speedTo(1));
  let only = null;
  for (const button of document.querySelectorAll("[data-only]")) {
    button.addEventListener("click", () => {
      only = only === +button.dataset.only ? null : +button.dataset.only;
      for (const each of document.querySelectorAll("[data-only]")) each.setAttribute("aria-pressed", +each.dataset.only === only);
      if (only !== null && media.paused) toggle();
    });
  }
  const keys = {
    " ": toggle, k: toggle, n: () => nextTurn(), p: previousTurn, "+": () => zoomTo(zoom * 2), "=": () => zoomTo(zoom * 2),
    "-": () => zoomTo(zoom / 2), ",": () => faster(-1), ".": () => faster(1),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.closest("button, summary, a")) return; // it presses them
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (arrow) seek(now() + arrow * (event.shiftKey ? 1 : 5));
    else if (event.key in keys) keys[event.key]();
    else if (/^[1-9]$/.test(event.key)) nextTurn(([, , speaker]) => speaker === event.key - 1);
    else return;
    event.preventDefault();
  });

  // the table of turns: a page of it at a time, since a day has tens of thousands
  const rows = by("turns").tBodies[0], perPage = 50;
  let first = 0;
  function list(start) {
    first = clamp(start, 0, Math.max(0, turns.length - 1));
    first -= first % perPage;
    rows.replaceChildren(...turns.slice(first, first + perPage).map(([start, end, speaker, sure]) => {
      const row = document.createElement("tr");
      row.dataset.start = start;
      row.className = data.colours[speaker];
      for (const text of [clock(start), clock(end), (end - start).toFixed(2), speakers[speaker], sure === null ? "–" : Math.round(100 * sure) + " %"]) {
        row.append(Object.assign(document.createElement("td"), { textContent: text }));
      }
      row.cells[3].prepend(Object.assign(document.createElement("i"), { className: "dot" }));
      row.addEventListener("click", () => playFrom(start));
      return row;
    }));
    by("shown").textContent = turns.length ? `${first + 1} to ${Math.min(first + perPage, turns.length)} of ${turns.length}` : "none";
    by("earlier").hidden = by("later").hidden = turns.length <= perPage;
    by("earlier").disabled = first === 0;
    by("later").disabled = first + perPage >= turns.length;
  }
  by("earlier").addEventListener("click", () => list(first - perPage));
  by("later").addEventListener("click", () => list(first + perPage));
  let marked = -1;
  function mark(time) {
    const current = turns.findIndex(([start, end]) => start <= time && time < end);
    if (current === marked) return;
    rows.querySelector(".now")?.classList.remove("now");
    marked = current;
    if (current < 0) return;
    if (!media.paused && (current < first || current >= first + perPage)) list(current);
    rows.rows[current - first]?.classList.add("now");
  }

  // the map of the windows
  const span = ([start, end]) => `${clock(start)} – ${clock(end)}`;
  const name = (speaker) => (speaker < 0 ? "between turns" : speakers[speaker]);
  function drawMap() {
    const canvas = by("map"), pen = canvas.getContext("2d"), { xy } = data.map;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 0.75;
    xy.forEach((_, index) => {
      const [x, y] = place(index);
      pen.fillStyle = colour(data.map.speakers[index]);
      pen.beginPath();
      pen.arc(x, y, xy.length > 400 ? 4 : 6, 0, 7);
      pen.fill();
    });
  }
  const place = (index) => data.map.xy[index].map((value) => 260 + 240 * value);
  function nearest(event) {
    const box = by("map").getBoundingClientRect();
    const x = (event.clientX - box.left) * 520 / box.width, y = (event.clientY - box.top) * 520 / box.height;
    let best = -1, closest = 15 ** 2;
    data.map.xy.forEach((_, index) => {
      const [px, py] = place(index), distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < closest) [best, closest] = [index, distance];
    });
    return best;
  }

  // the matrix of the similarities
  function drawMatrix() {
    const canvas = by("matrix"), pen = canvas.getContext("2d"), { times } = data.similarity;
    const size = times.length, cosine = cosines();
    const rgb = (text) => { pen.fillStyle = text; const hex = pen.fillStyle; return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); };
    const dark = rgb(css("--raised")), bright = rgb(css("--accent"));
    const image = new ImageData(size, size);
    for (let cell = 0; cell < size * size; cell++) {
      const share = (cosine[cell] / 255) ** 1.5;
      for (let part = 0; part < 3; part++) image.data[4 * cell + part] = dark[part] + share * (bright[part] - dark[part]);
      image.data[4 * cell + 3] = 255;
    }
    const small = new OffscreenCanvas(size, size);
    small.getContext("2d").putImageData(image, 0, 0);
    pen.clearRect(0, 0, 520, 520);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 10, 10, 510, 510);
    data.similarity.speakers.forEach((speaker, index) => { // whose rows and columns these are
      pen.fillStyle = colour(speaker);
      const start = 10 + 510 * index / size, length = 510 / size + 0.5;
      pen.fillRect(start, 0, length, 7);
      pen.fillRect(0, start, 7, length);
    });
  }
  let found = null;
  const cosines = () => (found ??= bytes(data.similarity.cosine));
  function cell(event) {
    const box = by("matrix").getBoundingClientRect(), size = data.similarity.times.length;
    const [column, row] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((share) => Math.floor((share * 520 - 10) / 510 * size));
    return row >= 0 && column >= 0 && row < size && column < size ? [row, column] : null;
  }

  if (data.map) {
    by("map-caption").textContent = data.map.xy.length + " windows, " +
      (data.map.is_projection ? "first two principal components" : "t-SNE: neighbourhoods count, distances between clouds do not");
    by("map").addEventListener("pointermove", (event) => {
      const index = nearest(event);
      if (index < 0) hide(); else show(event, `${name(data.map.speakers[index])}\n${span(data.map.times[index])}`);
    });
    by("map").addEventListener("click", (event) => { const index = nearest(event); if (index >= 0) playFrom(data.map.times[index][0]); });
    const { low, times, speakers: whose } = data.similarity;
    by("matrix-caption").textContent = `cosines from ${low.toFixed(2)} (dark) to 1`;
    by("matrix").addEventListener("pointermove", (event) => {
      const hit = cell(event);
      if (!hit) return hide();
      const value = low + (1 - low) * cosines()[hit[0] * times.length + hit[1]] / 255;
      show(event, `${name(whose[hit[0]])} ${span(times[hit[0]])}\n${name(whose[hit[1]])} ${span(times[hit[1]])}\ncosine ${value.toFixed(2)}`);
    });
    by("matrix").addEventListener("click", (event) => { const hit = cell(event); if (hit) playFrom(times[hit[0]][0]); });
    for (const id of ["map", "matrix"]) by(id).addEventListener("pointerleave", hide);
    const draw = () => { drawMap(); drawMatrix(); };
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }
  list(0);
  follow();
  document.documentElement.dataset.ready = "1";
})();
