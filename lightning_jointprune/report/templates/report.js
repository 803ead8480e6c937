"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const readHistory = () => {
    const figure = read("history-data"), [heat] = figure.data;
    heat.z = heat.z.map((row) => row.map((p) => p / 1000)); // shorter in the file as whole numbers
    return figure;
  };
  const narrow = () => document.documentElement.clientWidth < 600;
  const { joints: columns, moments } = read("page-data");
  const joints = columns.map(([number, name, part, probability, kept, cost], rank) => ({ rank, number, name, part, probability, kept, cost }));
  const byNumber = new Map(joints.map((joint) => [joint.number, joint]));
  const config = { displaylogo: false, responsive: true, toImageButtonOptions: { format: "svg" } };

  // What the reader has asked for; everything drawn follows from it.
  let chosen = null; // a joint
  let shown = joints; // those that pass the search and the body part, in the chosen order
  let moment = moments.length - 1;

  // --- figures ---------------------------------------------------------------------------------

  const charts = new Map(); // by id: element, data, layout

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    return { text: colour("--text"), soft: colour("--soft"), line: colour("--line"), card: colour("--card"), mark: colour("--mark") };
  }

  // The page's colours, read when they are needed, so that light and dark are said once, in the
  // CSS. A narrow screen has no room for the joint names of the history.
  function dressed(id) {
    const { layout } = charts.get(id), { text, soft, line, card } = colours(), clear = "rgba(0,0,0,0)";
    const theme = {
      ...layout,
      paper_bgcolor: clear,
      plot_bgcolor: clear,
      font: { ...layout.font, color: soft, family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: text, size: 13 }, align: "left" },
      modebar: { bgcolor: clear, color: soft, activecolor: text },
      dragmode: narrow() ? false : "zoom",
      shapes: [...(layout.shapes ?? []), ...marks(id)],
    };
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
      theme[key] = { ...layout[key], gridcolor: line, zeroline: false, linecolor: line };
      if (narrow() && layout[key].ticktext) Object.assign(theme[key], { showticklabels: id !== "history" && layout[key].showticklabels !== false, tickfont: { size: 10 } });
    }
    return theme;
  }

  // The chosen joint and the moment, as lines over a figure.
  function marks(id) {
    const { mark } = colours(), line = { color: mark, width: 2 }, found = [];
    const row = id === "importance" ? shown.indexOf(chosen) : id === "history" && chosen ? chosen.rank : -1;
    if (row >= 0) found.push({ type: "rect", xref: "x domain", x0: 0, x1: 1, yref: "y", y0: row - 0.5, y1: row + 0.5, line });
    const column = id === "classes" && chosen ? charts.get(id).layout.meta.joints.indexOf(chosen.number) : -1;
    if (column >= 0) found.push({ type: "rect", yref: "y domain", y0: 0, y1: 1, xref: "x", x0: column - 0.5, x1: column + 0.5, line });
    if (id === "history" && moment < moments.length - 1) {
      const [step] = moments[moment];
      found.push({ type: "line", xref: "x", x0: step, x1: step, yref: "paper", y0: 0, y1: 1, line: { ...line, dash: "dot" } });
    }
    return found;
  }

  // The ring around the chosen joint, the last trace of a skeleton.
  function ring(id) {
    const { data } = charts.get(id), place = chosen && placeOf(chosen);
    Object.assign(data.at(-1), { x: place ? [place.x] : [], y: place ? [place.y] : [] });
    data.at(-1).marker.line.color = colours().mark;
  }

  let places = new Map(); // by joint number: x and y in the skeleton
  const placeOf = (joint) => places.get(joint.number);

  function draw(element) {
    const { id } = element;
    const figure = id === "history" ? readHistory() : read(`${id === "replay" ? "skeleton" : id}-data`), { layout } = figure;
    if (layout.meta?.aspect) {
      const most = id === "replay" ? 0.6 * layout.height : layout.height;
      layout.height = Math.min(most, 80 + element.clientWidth * layout.meta.aspect);
      const points = figure.data.slice(2), many = joints.length > 200;
      for (const trace of points) {
        if (narrow()) trace.marker.size *= many ? 0.5 : 0.75;
        trace.customdata.forEach((row, place) => places.set(row[1], { x: trace.x[place], y: trace.y[place], hover: row }));
      }
      const size = points[1].marker.size + 8;
      if (id === "replay") figure.data.splice(2, 2, moving(points[1]));
      if (id === "replay") figure.data[1].line = figure.data[0].line; // no edge is special here
      figure.data.push({ x: [], y: [], mode: "markers", type: "scatter", hoverinfo: "skip", marker: { size, color: "rgba(0,0,0,0)", line: { width: 3 } } });
    }
    charts.set(id, { element, data: figure.data, layout, full: figure.data.map((trace) => ({ ...trace })) });
    if (layout.meta?.aspect) ring(id);
    if (id === "importance") arrange();
    element.replaceChildren(); // the sketch, that was there before Plotly
    Plotly.newPlot(element, figure.data, dressed(id), config);
    element.on("plotly_click", ({ points: [point] }) => {
      const joint = id === "history" ? point.data.type === "heatmap" && joints[point.pointNumber[0]]
        : byNumber.get(id === "classes" ? layout.meta.joints[point.pointNumber[1]] : point.customdata?.[1]);
      if (joint) choose(joint === chosen ? null : joint);
    });
  }

  const update = (id) => { const chart = charts.get(id); if (chart) Plotly.react(chart.element, chart.data, dressed(id), config); };
  const updateMarks = (id) => { const chart = charts.get(id); if (chart) Plotly.relayout(chart.element, { shapes: dressed(id).shapes }); };

  // The bars of the joints that are shown, and no gaps between them.
  function arrange() {
    const { data, layout, full } = charts.get("importance");
    const rows = new Map(shown.map((joint, row) => [joint.number, row]));
    data.forEach((trace, index) => {
      const all = full[index], places = [...all.customdata.keys()].filter((place) => rows.has(all.customdata[place][1]));
      const pick = (values) => places.map((place) => values[place]);
      Object.assign(trace, { x: pick(all.x), y: places.map((place) => rows.get(all.customdata[place][1])), customdata: pick(all.customdata), text: pick(all.text) });
      trace.marker = { ...all.marker, opacity: pick(all.marker.opacity) };
    });
    layout.full ??= layout.yaxis.ticktext;
    layout.yaxis = { ...layout.yaxis, tickvals: [...shown.keys()], ticktext: shown.map((joint) => layout.full[joint.rank]), range: [Math.max(shown.length, 4) - 0.4, -0.6] };
    layout.height = 100 + 17 * Math.max(shown.length, 4);
  }

  // One figure per frame: the first can be read while the others are drawn.
  const waiting = [...document.querySelectorAll(".figure")];
  function next() {
    const element = waiting.shift();
    if (!element) return;
    draw(element);
    requestAnimationFrame(() => setTimeout(next));
  }
  if (typeof Plotly === "undefined") {
    for (const element of waiting) element.append("The figures need Plotly's script, which could not be loaded. The tables have all values.");
  } else {
    next();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const id of charts.keys()) {
        if (placeOf(joints[0]) && ["skeleton", "replay"].includes(id)) ring(id);
        update(id);
      }
    });
  }

  // --- one joint, everywhere -------------------------------------------------------------------

  const rows = [...document.querySelectorAll("#joints tbody tr")]; // by rank
  const buttons = rows.map((row) => row.querySelector("button"));

  function choose(joint) {
    if (chosen) rows[chosen.rank].removeAttribute("aria-current");
    chosen = joint;
    byId("chosen").hidden = !joint;
    if (joint) {
      const row = rows[joint.rank], box = row.closest(".table");
      row.setAttribute("aria-current", "true");
      box.scrollTop = row.offsetTop - box.clientHeight / 2;
      const part = joint.part ? `, ${joint.part}` : "";
      byId("chosen").querySelector("span").textContent =
        `${joint.name} (joint ${joint.number}${part}): ${joint.kept ? "KEEP" : "PRUNE"}, rank ${joint.rank + 1} of ${joints.length}, keep probability ${joint.probability.toFixed(3)}${joint.cost === null ? "" : `, dropping it costs ${joint.cost.toFixed(3)}`}`;
    }
    for (const id of ["skeleton", "replay"]) if (charts.has(id)) { ring(id); update(id); }
    for (const id of ["importance", "history", "classes"]) updateMarks(id);
  }

  buttons.forEach((button, rank) => button.addEventListener("click", () => choose(joints[rank] === chosen ? null : joints[rank])));
  byId("chosen").querySelector("button").addEventListener("click", () => choose(null));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen) choose(null); });

  // One stop for Tab in the table; the arrows go from joint to joint.
  byId("joints").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], here = shown.findIndex((joint) => buttons[joint.rank] === document.activeElement);
    const to = step && here >= 0 && shown[here + step];
    if (!to) return;
    event.preventDefault();
    stop(to);
    buttons[to.rank].focus();
  });
  const stop = (joint) => buttons.forEach((button, rank) => { button.tabIndex = joint && rank === joint.rank ? 0 : -1; });
  stop(joints[0]);

  // --- search, order, body part ----------------------------------------------------------------

  const parts = [...new Set([...joints].sort((a, b) => a.number - b.number).map((joint) => joint.part))];
  const orders = {
    rank: (a, b) => a.rank - b.rank,
    part: (a, b) => parts.indexOf(a.part) - parts.indexOf(b.part) || a.rank - b.rank,
    number: (a, b) => a.number - b.number,
  };
  const words = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
  let part = -1;

  function filter() {
    const wanted = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = joints
      .filter((joint) => (part < 0 || joint.part === parts[part]) && wanted.every((word) => words[joint.rank].includes(word)))
      .sort(orders[byId("order").value]);
    const passing = new Set(shown);
    rows.forEach((row, rank) => { row.hidden = !passing.has(joints[rank]); });
    byId("joints").tBodies[0].append(...shown.map((joint) => rows[joint.rank]));
    stop(shown[0]);
    byId("found").textContent = shown.length < joints.length ? `${shown.length} of ${joints.length} joints` : "";
    if (charts.has("importance")) { arrange(); update("importance"); }
  }
  byId("find").addEventListener("input", filter);
  byId("order").addEventListener("change", filter);
  const chips = [...document.querySelectorAll("[data-part]")];
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      part = Number(chip.dataset.part);
      for (const other of chips) other.setAttribute("aria-pressed", String(other === chip));
      filter();
    });
  }

  // --- the search, moment by moment ------------------------------------------------------------

  // Joints by their number, large and blue where their gate is open.
  function moving(trace) {
    const numbers = [...places.keys()].sort((a, b) => a - b), at = numbers.map((number) => places.get(number));
    return {
      ...trace, name: "joints", x: at.map(({ x }) => x), y: at.map(({ y }) => y), customdata: at.map(({ hover }) => hover),
      hovertemplate: "<b>%{customdata[0]}</b> (joint %{customdata[1]})<br>keep probability %{marker.color:.3f}<extra></extra>",
      marker: { ...trace.marker, opacity: 1, line: { width: 0 }, full: trace.marker.size, ...looks(trace.marker.size, numbers) },
    };
  }

  function looks(full, numbers) {
    looks.z ??= readHistory().data[0].z;
    const color = numbers.map((number) => looks.z[byNumber.get(number).rank][moment]);
    return { color, size: color.map((p) => full * (0.3 + 0.7 * p)) };
  }

  function replay() {
    const [step, epoch, phase, active, expected] = moments[moment];
    const count = phase === "warmup" || phase === "compare" ? "all joints in use" : `${active} of ${joints.length} joints ${phase === "final" ? "kept" : "would be kept"}`;
    byId("when").textContent = `step ${step}, epoch ${epoch}, ${phase === "warmup" ? "warm-up" : phase}: ${count}, ${expected ?? "–"} expected`;
    const chart = charts.get("replay");
    if (chart) {
      const trace = chart.data.at(-2);
      trace.marker = { ...trace.marker, ...looks(trace.marker.full, trace.customdata.map((row) => row[1])) };
      update("replay");
    }
    updateMarks("history");
  }

  if (byId("moment")) {
    const slider = byId("moment"), play = byId("play");
    let timer = null;
    const go = (to) => { moment = to; slider.value = to; slider.setAttribute("aria-valuetext", `moment ${to + 1} of ${moments.length}`); replay(); };
    const pause = () => { clearInterval(timer); timer = null; play.textContent = "▶ Replay"; };
    slider.max = moments.length - 1;
    go(moment);
    slider.addEventListener("input", () => { pause(); go(Number(slider.value)); });
    play.addEventListener("click", () => {
      if (timer !== null) { pause(); return; }
      if (moment === moments.length - 1) go(0);
      play.textContent = "❚❚ Pause";
      timer = setInterval(() => { if (moment === moments.length - 1) pause(); else go(moment + 1); }, Math.max(60, 6000 / moments.length));
    });
  }

  // --- take the table along --------------------------------------------------------------------

  const costs = joints.some(({ cost }) => cost !== null) ? ["drop_cost"] : []; // a column where any is known
  const rank = ({ rank: place, number, name, part: group, probability, kept, cost }) => [place + 1, number, name, group, probability, kept ? "KEEP" : "PRUNE", ...costs.map(() => cost ?? "")];
  // A spreadsheet runs what begins like a formula, so such a name gets an apostrophe in front.
  const cell = (value) => typeof value === "string" ? `"${value.replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"` : String(value);
  const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}" };
  const tex = (value) => value.replace(/[\\~^<>|&%$#_{}]/g, (sign) => TEX[sign] ?? `\\${sign}`).replace(/\s+/g, " ");
  const indices = joints.filter(({ kept }) => kept).map(({ number }) => number).sort((a, b) => a - b);
  const texts = {
    csv: () => [["rank", "index", "joint", "body_part", "keep_probability", "verdict", ...costs], ...joints.map(rank)].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n",
    json: () => JSON.stringify({ kept: indices, joints: joints.map(({ rank: place, number: index, name, part: body_part, probability: keep_probability, kept, cost: drop_cost }) => ({ rank: place + 1, index, name, body_part, keep_probability, kept, ...(costs.length && { drop_cost }) })) }, null, 1) + "\n",
    py: () => `kept = [${indices.join(", ")}]  # ${indices.length} of ${joints.length} joints\n`,
    tex: () => joints.map((joint) => `${joint.number} & ${tex(joint.name)} & ${tex(joint.part)} & ${joint.probability.toFixed(3)} & ${joint.kept ? "keep" : "prune"} \\\\\n`).join(""),
  };
  const format = byId("format"), box = byId("text");

  function say(words) {
    byId("said").textContent = words;
    setTimeout(() => { byId("said").textContent = ""; }, 4000);
  }
  byId("copy").addEventListener("click", async () => {
    const text = texts[format.value]();
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch { // a browser may forbid it to a file
      Object.assign(box, { value: text, hidden: false });
      box.select();
      say("Copy with Ctrl+C");
    }
  });
  byId("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([texts[format.value]()], { type: "text/plain" }));
    link.download = `joints.${format.value}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href));
    say(`Saved as ${link.download}`);
  });
})();
