// Draws all figures of a page that has nothing else to do.
for (const element of document.querySelectorAll(".figure")) {
  const { data, layout } = JSON.parse(document.getElementById(`${element.id}-data`).textContent);
  if (typeof Plotly === "undefined") { element.append(NO_PLOTLY); continue; }
  Plotly.newPlot(element, data, themed(layout), config);
  whenSchemeChanges(() => Plotly.relayout(element, themed(layout)));
}
