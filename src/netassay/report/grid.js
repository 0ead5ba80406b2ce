"use strict";
// Draws the cells of grids, histograms as scalable shapes whose colours come from the style sheet, and tells their bins.
(function () {
  const cells = JSON.parse(document.getElementById("cells").textContent);
  const made = "http://www.w3.org/2000/svg";
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  function shape(parent, name, attributes) {
    const one = document.createElementNS(made, name);
    Object.entries(attributes).forEach(([key, value]) => one.setAttribute(key, value));
    parent.append(one);
  }

  // In a box of 100 by 100 that is stretched to the cell; what is higher than the top is cut there.
  function steps(cell, heights) {
    const y = (value) => (100 - 98 * Math.min(value / cell.top, 1)).toFixed(1);
    const x = cell.at.map((share) => (100 * share).toFixed(2));
    return "M" + x[0] + " 100" + heights.map((value, i) => "V" + y(value) + "H" + x[i + 1]).join("") + "V100";
  }

  function draw(holder, cell) {
    const svg = document.createElementNS(made, "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    const zero = -cell.from / cell.span;
    if (zero > 0 && zero < 1) shape(svg, "path", { d: "M" + 100 * zero + " 0V100", class: "zero" });
    cell.series.forEach(([name, heights]) => shape(svg, "path", { d: steps(cell, heights), class: "bins of-" + name }));
    shape(svg, "path", { d: "M0 100H100", class: "ground" });
    holder.append(svg);
  }

  const format = (value, digits) => String(Number(Number(value).toPrecision(digits))).replace("-", "\u2212");

  function told(cell, share) {
    const after = cell.at.findIndex((edge) => edge > share);
    const bin = Math.max(0, (after < 0 ? cell.at.length : after) - 1);
    const last = Math.min(bin, cell.at.length - 2);
    const digits = Math.max(3, Math.ceil(Math.log10(Math.max(Math.abs(cell.from), cell.span) / cell.span)) + 3);
    const edge = (i) => format(cell.from + cell.span * cell.at[i], digits);
    const rows = cell.series.map(([name, heights]) => name + ": density " + format(heights[last], 3));
    return [edge(last) + " to " + edge(last + 1), ...rows].join("\n");
  }

  function show(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    tip.textContent = told(cells[event.currentTarget.dataset.cell], share);
    tip.hidden = false;
    const left = Math.min(event.clientX + 12, document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, box.top - tip.offsetHeight - 4) + "px";
  }

  const hide = () => (tip.hidden = true);
  document.querySelectorAll("[data-cell]").forEach((holder) => {
    draw(holder, cells[holder.dataset.cell]);
    holder.addEventListener("pointermove", show);
    holder.addEventListener("pointerdown", show);
    holder.addEventListener("pointerleave", hide);
  });
  window.addEventListener("scroll", hide, { capture: true, passive: true });
  window.addEventListener("beforeprint", hide);
})();
