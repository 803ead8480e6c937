"use strict";
// What figures of all pages have in common. The buttons above a figure are in its layout.
const config = { displaylogo: false, responsive: true, toImageButtonOptions: { format: "svg" } };
const narrow = () => document.documentElement.clientWidth < 600;
const NO_PLOTLY = "The figures need Plotly's script, which could not be loaded. The tables have all values.";

function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { text: colour("--text"), soft: colour("--soft"), line: colour("--line"), card: colour("--card"), mark: colour("--mark") };
}

// A layout in the page's colours, read when they are needed, so that light and dark are said once,
// in the CSS.
function themed(layout) {
  const { text, soft, line, card } = colours(), clear = "rgba(0,0,0,0)";
  const theme = {
    ...layout,
    paper_bgcolor: clear,
    plot_bgcolor: clear,
    font: { ...layout.font, color: soft, family: getComputedStyle(document.body).fontFamily, size: 12 },
    hoverlabel: { bgcolor: card, bordercolor: line, font: { color: text, size: 13 }, align: "left" },
    modebar: { ...layout.modebar, bgcolor: clear, color: soft, activecolor: text },
    dragmode: narrow() ? false : "zoom",
  };
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
    theme[key] = { ...layout[key], gridcolor: line, zeroline: false, linecolor: line };
    if (narrow() && layout[key].ticktext) theme[key].tickfont = { size: 10 };
  }
  return theme;
}

const whenSchemeChanges = (draw) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
