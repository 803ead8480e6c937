"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = () => document.documentElement.clientWidth < 600;
  const config = { displaylogo: false, responsive: true, toImageButtonOptions: { format: "svg" } };
  const drawn = [];

  // The page's colours, read when they are needed, so that light and dark are said once, in the
  // CSS. `few`: a narrow screen has no room for joint names.
  function themed(layout, few) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const text = colour("--soft"), line = colour("--line"), card = colour("--card");
    const clear = "rgba(0,0,0,0)";
    const theme = {
      ...layout,
      paper_bgcolor: clear,
      plot_bgcolor: clear,
      font: { ...layout.font, color: text, family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: colour("--text"), size: 13 }, align: "left" },
      modebar: { bgcolor: clear, color: line, activecolor: text },
      dragmode: narrow() ? false : "zoom",
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        theme[key] = { ...layout[key], gridcolor: line, zeroline: false, linecolor: line };
        if (narrow() && layout[key].ticktext) Object.assign(theme[key], { showticklabels: !few, tickfont: { size: 10 } });
      }
    }
    return theme;
  }

  function draw(element) {
    const figure = JSON.parse(document.getElementById(`${element.id}-data`).textContent);
    const { layout } = figure;
    if (layout.meta?.aspect) layout.height = Math.min(layout.height, 80 + element.clientWidth * layout.meta.aspect);
    Plotly.newPlot(element, figure.data, themed(figure.layout, element.id === "history"), config);
    drawn.push([element, figure]);
  }

  function redraw() {
    for (const [element, figure] of drawn) Plotly.react(element, element.data, themed(figure.layout, element.id === "history"), config);
  }

  // One figure per frame: the first can be read while the others are drawn.
  const waiting = [...document.querySelectorAll(".figure")];
  function next() {
    const element = waiting.shift();
    if (!element) return;
    draw(element);
    requestAnimationFrame(() => setTimeout(next));
  }
  next();
  dark.addEventListener("change", redraw);

  for (const button of document.querySelectorAll("[data-trace]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      Plotly.restyle("importance", { visible: shown }, [Number(button.dataset.trace)]);
    });
  }

  const rows = [...document.querySelectorAll("#joints tbody tr")].map((row) => [row, [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase()]);
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [row, text] of rows) row.hidden = !wanted.every((word) => text.includes(word));
  });

  document.getElementById("copy").addEventListener("click", async () => {
    const list = document.getElementById("indices"), said = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(list.textContent);
      said.textContent = "Copied";
    } catch {
      list.closest("details").open = true;
      getSelection().selectAllChildren(list);
      said.textContent = "Selected: copy with Ctrl+C";
    }
    setTimeout(() => { said.textContent = ""; }, 3000);
  });
})();
