(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const readHistory = () => {
    const figure = read("history-data"), [heat] = figure.data;
    heat.z = heat.z.map((row) => row.map((p) => p / 1000)); // shorter in the file as whole numbers
    return figure;
  };
  const { joints: columns, axes, moments, metric, rungs, runs, first, edges } = read("page-data");
  // By rank. What depends on how many joints are kept follows `showRung`; `row` is that of the history.
  // A cost is its value and the ends of its interval, or null.
  const joints = columns.map(([number, name, part, probability, kept, cost, instead], rank) => ({ rank, row: rank, number, name, part, probability, kept, cost, measured: cost, instead }));
  const byRow = [...joints];
  const byNumber = new Map(joints.map((joint) => [joint.number, joint]));

  // What can be shown: this run's numbers of joints, and after them the other runs.
  const views = [...rungs, ...runs.slice(rungs.length ? 1 : 0)];
  // The number of joints that the run chose, by its place in `views`; -1 where nothing else can be shown.
  const original = rungs.length ? rungs.findIndex(({ kept }) => kept.length === joints.filter((joint) => joint.kept).length) : runs.length ? 0 : -1;
  const ofRung = (place) => place < rungs.length;

  // What the reader has asked for; everything drawn follows from it.
  let chosen = null; // a joint
  let rung = original; // a number of joints or another run, by its place in `views`
  let shown = joints; // those that pass the search and the body part, in the chosen order
  let moment = moments.length - 1;

  // --- figures ---------------------------------------------------------------------------------

  const charts = new Map(); // by id: element, data, layout

  // A figure's layout with marks on it. A narrow screen has no room for the joint names of the history.
  function dressed(id) {
    const { layout } = charts.get(id), theme = themed(layout);
    theme.shapes = [...(layout.shapes ?? []), ...marks(id)];
    if (id === "history" && narrow()) theme.yaxis.showticklabels = false;
    return theme;
  }

  // The chosen joint and the moment, as lines over a figure.
  function marks(id) {
    const { mark } = colours(), line = { color: mark, width: 2 }, found = [];
    const row = id === "importance" ? rowOf(chosen) : id === "history" && chosen ? chosen.row : -1;
    if (row >= 0) found.push({ type: "rect", xref: "x domain", x0: 0, x1: 1, yref: "y", y0: row - 0.5, y1: row + 0.5, line });
    const column = id === "classes" && chosen ? charts.get(id).layout.meta.joints.indexOf(chosen.number) : -1;
    if (column >= 0) found.push({ type: "rect", yref: "y domain", y0: 0, y1: 1, xref: "x", x0: column - 0.5, x1: column + 0.5, line });
    if (id === "frontier" && rungs.length && ofRung(rung)) {
      const x = rungs[rung].kept.length;
      found.push({ type: "line", xref: "x", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { ...line, dash: "dot" } });
    }
    if (id === "history" && moment < moments.length - 1) {
      const [step] = moments[moment];
      found.push({ type: "line", xref: "x", x0: step, x1: step, yref: "paper", y0: 0, y1: 1, line: { ...line, dash: "dot" } });
    }
    return found;
  }

  // The ring around the chosen joint, and pale ones around its stand-ins: the last trace of a skeleton.
  function ring(id) {
    const trace = charts.get(id).data.at(-1), marked = chosen ? [chosen.number, ...(chosen.instead?.[1] ?? [])] : [];
    Object.assign(trace, { x: marked.map((number) => places.get(number).x), y: marked.map((number) => places.get(number).y) });
    trace.marker = { ...trace.marker, opacity: marked.map((_, place) => place ? 0.4 : 1), line: { width: 3, color: colours().mark } };
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
    if (id === "skeleton" && rung !== original) fill();
    if (layout.meta?.aspect) ring(id);
    if (id === "importance") arrange();
    if (id === "frontier" && rungs.length) layout.hovermode = "x";
    element.replaceChildren(); // the sketch, that was there before Plotly
    Plotly.newPlot(element, figure.data, dressed(id), config);
    element.on("plotly_click", ({ points }) => {
      const [point] = points;
      if (id === "frontier") {
        const ours = points.find(({ curveNumber }) => curveNumber === 0); // this run's line
        if (ours) showRung(rungs.findIndex(({ kept }) => kept.length === ours.x));
        return;
      }
      const joint = id === "history" ? point.data.type === "heatmap" && byRow[point.pointNumber[0]]
        : byNumber.get(id === "classes" ? layout.meta.joints[point.pointNumber[1]] : point.customdata?.[1]);
      if (joint) choose(joint === chosen ? null : joint);
    });
  }

  const update = (id) => { const chart = charts.get(id); if (chart) Plotly.react(chart.element, chart.data, dressed(id), config); };
  const updateMarks = (id) => { const chart = charts.get(id); if (chart) Plotly.relayout(chart.element, { shapes: dressed(id).shapes }); };

  // The joints that are kept, and those that are not, on the skeleton.
  function fill() {
    const { data } = charts.get("skeleton");
    const drawn = (of) => {
      const ends = (axis) => of.flatMap(([a, b]) => [places.get(a)[axis], places.get(b)[axis], null]);
      return { x: ends("x"), y: ends("y") };
    };
    const both = ([a, b]) => byNumber.get(a).kept && byNumber.get(b).kept;
    Object.assign(data[0], drawn(edges.filter((edge) => !both(edge))));
    Object.assign(data[1], drawn(edges.filter(both)));
    for (const [trace, kept] of [[data[2], false], [data[3], true]]) {
      const of = joints.filter((joint) => joint.kept === kept).sort((a, b) => a.number - b.number);
      Object.assign(trace, { x: of.map((joint) => placeOf(joint).x), y: of.map((joint) => placeOf(joint).y), customdata: of.map((joint) => hover(joint, placeOf(joint).hover)) });
      if (kept) trace.marker = { ...trace.marker, color: of.map((joint) => joint.probability) };
    }
  }

  // What is said of a joint at the pointer: as it came, with the values of the number that is shown.
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const others = ({ instead }) => instead ? `<br>or ${escaped(instead[0])}` : "";
  const hover = (joint, [name, number, group, , mean, cost]) => [name, number, group, joint.probability.toFixed(3), mean, joint.cost === null ? "" : cost, others(joint)];

  // The bars of the joints that are shown, and no gaps between them: costs where they are known of
  // the number of joints that is shown, else keep probabilities.
  let bars = []; // the joints that have a bar, from the top
  const rowOf = (joint) => joint ? bars.indexOf(joint) : -1;
  function arrange() {
    const { data, layout, full } = charts.get("importance"), costly = joints.some(({ cost }) => cost), { title, span, line } = axes[costly ? "cost" : "probability"];
    bars = shown.filter(({ cost }) => cost || !costly);
    const rows = new Map(bars.map((joint, row) => [joint.number, row]));
    const value = (joint) => costly ? joint.cost[0] : joint.probability, end = (joint, place) => costly ? joint.cost[place] ?? joint.cost[0] : joint.probability;
    const whiskers = (of) => ({ array: of.map((joint) => end(joint, 2) - value(joint)), arrayminus: of.map((joint) => value(joint) - end(joint, 1)) });
    data.slice(0, -1).forEach((trace, index) => {
      const all = full[index], wanted = all.customdata.filter((row) => rows.has(row[1]));
      const of = wanted.map((row) => byNumber.get(row[1]));
      Object.assign(trace, { x: of.map(value), y: of.map((joint) => rows.get(joint.number)), customdata: of.map((joint, place) => hover(joint, wanted[place])) });
      trace.marker = { ...all.marker, opacity: of.map((joint) => joint.kept ? 1 : 0.35) };
      if (all.error_x) trace.error_x = { ...all.error_x, ...whiskers(of) };
    });
    Object.assign(data.at(-1), { x: bars.map((joint) => Math.max(0, value(joint), end(joint, 2))), y: [...bars.keys()], text: bars.map((joint) => `\u2009${value(joint).toFixed(costly ? 3 : 2)}`) });
    layout.full ??= layout.yaxis.ticktext.map((text) => text.replace(/^<b>(.*)<\/b>$/s, "$1")); // by row
    layout.measured ??= layout.xaxis.title.text; // escaped, as names of metrics are
    const label = (joint) => joint.kept ? `<b>${layout.full[joint.row]}</b>` : layout.full[joint.row];
    layout.yaxis = { ...layout.yaxis, tickvals: [...bars.keys()], ticktext: bars.map(label), range: [Math.max(bars.length, 4) - 0.4, -0.6] };
    layout.xaxis = { ...layout.xaxis, range: [...span], title: { ...layout.xaxis.title, text: costly ? layout.measured : title } };
    Object.assign(layout.shapes[0], { x0: line, x1: line });
    layout.height = 100 + 17 * Math.max(bars.length, 4);
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
    for (const element of waiting) element.append(NO_PLOTLY);
  } else {
    next();
    whenSchemeChanges(() => {
      for (const id of charts.keys()) {
        if (placeOf(joints[0]) && ["skeleton", "replay"].includes(id)) ring(id);
        update(id);
      }
    });
  }

  // --- one joint, everywhere -------------------------------------------------------------------

  for (const [row, element] of [...document.querySelectorAll("#joints tbody tr")].entries()) {
    Object.assign(byRow[row], { element, button: element.querySelector("button"), verdict: element.querySelector(".mark") });
  }

  function choose(joint) {
    if (chosen) chosen.element.removeAttribute("aria-current");
    chosen = joint;
    byId("chosen").hidden = !joint;
    if (joint) {
      const row = joint.element, box = row.closest(".table");
      row.setAttribute("aria-current", "true");
      box.scrollTop = row.offsetTop - box.clientHeight / 2;
      const part = joint.part ? `, ${joint.part}` : "";
      byId("chosen").querySelector("span").textContent =
        `${joint.name} (joint ${joint.number}${part}): ${joint.kept ? "KEEP" : "PRUNE"}, rank ${joint.rank + 1} of ${joints.length}, keep probability ${joint.probability.toFixed(3)}${joint.cost === null ? "" : `, dropping it costs ${joint.cost[0].toFixed(3)}`}${joint.instead ? `; or ${joint.instead[0]}` : ""}`;
    }
    for (const id of ["skeleton", "replay"]) if (charts.has(id)) { ring(id); update(id); }
    for (const id of ["importance", "history", "classes"]) updateMarks(id);
  }

  for (const joint of joints) joint.button.addEventListener("click", () => choose(joint === chosen ? null : joint));
  byId("chosen").querySelector("button").addEventListener("click", () => choose(null));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen) choose(null); });

  // One stop for Tab in the table; the arrows go from joint to joint.
  byId("joints").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], here = shown.findIndex((joint) => joint.button === document.activeElement);
    const to = step && here >= 0 && shown[here + step];
    if (!to) return;
    event.preventDefault();
    stop(to);
    to.button.focus();
  });
  const stop = (to) => joints.forEach((joint) => { joint.button.tabIndex = joint === to ? 0 : -1; });
  stop(joints[0]);

  // --- search, order, body part ----------------------------------------------------------------

  const parts = [...new Set([...joints].sort((a, b) => a.number - b.number).map((joint) => joint.part))];
  const orders = {
    rank: (a, b) => a.rank - b.rank,
    part: (a, b) => parts.indexOf(a.part) - parts.indexOf(b.part) || a.rank - b.rank,
    number: (a, b) => a.number - b.number,
  };
  const words = (joint) => [...joint.element.cells].filter((cell) => cell.className !== "instead").map((cell) => cell.textContent).join(" ").toLowerCase();
  let part = -1;

  function filter() {
    const wanted = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = joints
      .filter((joint) => (part < 0 || joint.part === parts[part]) && wanted.every((word) => words(joint).includes(word)))
      .sort(orders[byId("order").value]);
    const passing = new Set(shown);
    for (const joint of joints) joint.element.hidden = !passing.has(joint);
    byId("joints").tBodies[0].append(...shown.map((joint) => joint.element));
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

  // --- another number of joints, or another run, everywhere ------------------------------------

  function showRung(to) {
    if (to === rung || !views[to]) return;
    rung = to;
    const { kept, order, probabilities, instead, load } = views[rung], open = new Set(kept);
    order.forEach((number, rank) => {
      const joint = byNumber.get(number);
      Object.assign(joint, { rank, probability: probabilities[rank], kept: open.has(number), cost: rung === original ? joint.measured : null, instead: instead[rank] });
    });
    joints.sort((a, b) => a.rank - b.rank);
    for (const joint of joints) {
      joint.element.classList.toggle("dropped", !joint.kept);
      joint.verdict.textContent = joint.kept ? "KEEP" : "PRUNE";
      for (const [name, value] of Object.entries({ rank: joint.rank + 1, probability: joint.probability.toFixed(3) })) joint.element.querySelector(`.${name}`).textContent = value;
      const cost = joint.element.querySelector(".cost");
      if (cost) cost.textContent = joint.cost === null ? "" : cost.dataset.cost;
      const instead = joint.element.querySelector(".instead");
      if (instead) instead.textContent = joint.instead?.[0] ?? "";
    }
    const costly = joints.some(({ cost }) => cost);
    byId("joints").classList.toggle("measured", costly);
    byId("order").options[0].text = costly ? "by cost" : "by keep probability";
    for (const chip of chips) {
      const of = joints.filter((joint) => chip.dataset.part === "-1" || joint.part === parts[chip.dataset.part]);
      chip.querySelector(".count").textContent = `${of.filter((joint) => joint.kept).length}/${of.length}`;
    }
    if (byId("load")) byId("load").textContent = load;
    tell();
    filter();
    if (charts.has("skeleton")) { fill(); ring("skeleton"); update("skeleton"); }
    updateMarks("frontier");
    if (chosen) choose(chosen);
  }

  // The number or the run that is shown, in words.
  const placeOfRun = (number) => rungs.length ? number ? rungs.length + number - 1 : original : number;
  function tell() {
    const { kept, value, name } = views[rung], line = byId("rung"), own = views[original].kept;
    const other = rung !== original, reached = value && `with ${metric} ${value}`;
    const common = kept.filter((number) => own.includes(number)).length;
    const words = !other ? `are shown, ${rungs.length ? "the number that was chosen" : "those of this run"}.`
      : ofRung(rung) && rungs.length ? `are shown, ${reached}. The run chose ${own.length}.`
      : `are shown, those of ${name}${reached && `, ${reached}`}. ${common} of them are among the ${own.length} of this run.`;
    line.classList.toggle("other", other);
    line.querySelector("span").textContent = `${kept.length} of ${joints.length} joints ${words}`;
    line.querySelector("button").hidden = !other;
    byId("skeleton")?.setAttribute("aria-label", `The skeleton with ${kept.length} of ${joints.length} joints filled; the table below has the same values`);
    for (const button of document.querySelectorAll("[data-rung]")) button.setAttribute("aria-pressed", String(Number(button.dataset.rung) === rung));
    for (const button of document.querySelectorAll("[data-run]")) button.setAttribute("aria-pressed", String(placeOfRun(Number(button.dataset.run)) === rung));
  }

  if (rung >= 0) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -rungs.length, End: rungs.length };
    if (rungs.length) byId("frontier").addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return; // Alt and an arrow go back
      event.preventDefault();
      showRung(Math.min(Math.max((ofRung(rung) ? rung : original) + step, 0), rungs.length - 1));
    });
    for (const button of document.querySelectorAll("[data-rung]")) button.addEventListener("click", () => showRung(Number(button.dataset.rung)));
    for (const button of document.querySelectorAll("[data-run]")) button.addEventListener("click", () => showRung(placeOfRun(Number(button.dataset.run))));
    byId("rung").querySelector("button").addEventListener("click", () => {
      showRung(original);
      (rungs.length ? byId("frontier") : document.querySelector("[data-run]")).focus({ preventScroll: true });
    });
    tell();
    if (first !== null) showRung(first);
  }

  // --- the search, moment by moment ------------------------------------------------------------

  // Joints by their number, large and blue where their gate is open.
  function moving(trace) {
    const numbers = [...places.keys()].sort((a, b) => a - b), at = numbers.map((number) => places.get(number));
    return {
      ...trace, name: "joints", x: at.map(({ x }) => x), y: at.map(({ y }) => y), customdata: at.map(({ hover }) => hover),
      hovertemplate: "<b>%{customdata[0]}</b> (joint %{customdata[1]})<br>gate open with probability %{marker.color:.3f}<extra></extra>",
      marker: { ...trace.marker, opacity: 1, line: { width: 0 }, full: trace.marker.size, ...looks(trace.marker.size, numbers) },
    };
  }

  function looks(full, numbers) {
    looks.z ??= readHistory().data[0].z;
    const color = numbers.map((number) => looks.z[byNumber.get(number).row][moment]);
    return { color, size: color.map((p) => full * (0.3 + 0.7 * p)) };
  }

  function replay() {
    const [step, epoch, phase, active, expected] = moments[moment];
    const count = {
      warmup: "all joints in use",
      search: `${active} of ${joints.length} joints would be kept${expected === null ? "" : `; their keep probabilities add up to ${expected}`}`,
      compare: "numbers of joints are compared, and the gates stand still",
      final: `${active} of ${joints.length} joints kept`,
    }[phase];
    byId("when").textContent = `step ${step}, epoch ${epoch}, ${phase === "warmup" ? "warm-up" : phase}: ${count}`;
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
  const rank = ({ rank: place, number, name, part: group, probability, kept, cost }) => [place + 1, number, name, group, probability, kept ? "KEEP" : "PRUNE", ...costs.map(() => cost?.[0] ?? "")];
  // A spreadsheet runs what begins like a formula, so such a name gets an apostrophe in front.
  const cell = (value) => typeof value === "string" ? `"${value.replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"` : String(value);
  const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}" };
  const tex = (value) => value.replace(/[\\~^<>|&%$#_{}]/g, (sign) => TEX[sign] ?? `\\${sign}`).replace(/\s+/g, " ");
  const indices = () => joints.filter(({ kept }) => kept).map(({ number }) => number).sort((a, b) => a - b);
  const texts = {
    csv: () => [["rank", "index", "joint", "body_part", "keep_probability", "verdict", ...costs], ...joints.map(rank)].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n",
    json: () => JSON.stringify({ kept: indices(), joints: joints.map(({ rank: place, number: index, name, part: body_part, probability: keep_probability, kept, cost: drop_cost }) => ({ rank: place + 1, index, name, body_part, keep_probability, kept, ...(costs.length && { drop_cost: drop_cost?.[0] ?? null }) })) }, null, 1) + "\n",
    py: () => `kept = [${indices().join(", ")}]  # ${indices().length} of ${joints.length} joints\n`,
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
