"use strict";
// Draws every figure of the page from the numbers embedded in it; colours come from the style sheet.
(function () {
  const figures = JSON.parse(document.getElementById("charts").textContent);
  const holders = Array.from(document.querySelectorAll("[data-chart]"));
  const drawn = new Map();

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue("--" + name).trim();
    return {
      ink: read("ink"), soft: read("soft"), grid: read("grid"), line: read("line"), card: read("card"),
      series: { start: read("start"), end: read("end"), emission: read("emission"), absorption: read("absorption") },
      tones: { end: read("soft"), emission: read("emission"), absorption: read("absorption"), around: read("around"), cancelled: read("cancelled") },
      accent: Array.from({ length: 13 }, (_, i) => read("c" + i)),
      heat: [0, 1, 2, 3, 4].map((i) => read("heat" + i)), ramp: [0, 1, 2, 3, 4].map((i) => read("ramp" + i)),
      good: read("good"), bad: read("bad"), none: read("none"),
    };
  }

  const format = (value) => (value === null || value === undefined ? "–" : Number(Number(value).toPrecision(4)).toString());
  const power = (value) => (value >= 0.01 && value < 10000 ? String(Number(value.toPrecision(3))) : value.toExponential(0));
  const cut = (name, most) => (name.length > most ? "…" + name.slice(1 - most) : name);
  const tail = (name) => cut(name, 18);

  // A few letters, such as a channel's number, stand upright.
  const upright = (figure) => figure.numeric || figure.kind === "heat" || figure.kind === "map" || figure.x.every((name) => name.length < 5);

  // Predictions and fits share the name and colour of what they are of, and so a place in the legend.
  const owner = (figure, name) => (figure.dashed || {})[name] || (figure.fitted || {})[name] || name;
  const named = (figure) => (figure.series && figure.kind !== "heat" && figure.kind !== "map" ? Array.from(new Set(Object.keys(figure.series).map((name) => owner(figure, name)))) : []);
  const mixed = (from, to, share) => "#" + [1, 3, 5].map((i) => {
    const [a, b] = [from, to].map((tone) => parseInt(tone.slice(i, i + 2), 16));
    return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
  }).join("");
  function along(ramp, share) {
    const place = Math.min(share * (ramp.length - 1), ramp.length - 1.001);
    return mixed(ramp[Math.floor(place)], ramp[Math.floor(place) + 1], place % 1);
  }
  function colour(figure, name, c) {
    const names = named(figure);
    const own = (figure.tones || {})[owner(figure, name)];
    const at = own === undefined ? names.indexOf(owner(figure, name)) : own;
    if (figure.ramp) return along(c.ramp, at / Math.max(1, names.length - 1));
    return c.series[owner(figure, name)] || c.accent[at % c.accent.length];
  }

  // Many names stand beside a chart, or below it where it is narrow.
  const many = (figure) => figure.kind !== "boxes" && named(figure).length > 4;
  const MOST = 34;
  const letters = (figure) => Math.min(MOST, Math.max(...named(figure).map((name) => name.length)));
  const below = (figure, wide) => 20 * Math.ceil(named(figure).length / Math.max(1, Math.floor(wide / (6.3 * letters(figure) + 34))));

  function crowd(figure, option, narrow, holder) {
    option.legend = Object.assign({}, option.legend, { itemGap: 7, itemWidth: 16, type: "plain", top: undefined, right: undefined, formatter: (name) => cut(name, MOST) });
    option.grid.top = 36;
    if (narrow) {
      option.grid.bottom += below(figure, holder.clientWidth);
      return Object.assign(option.legend, { left: 0, right: 0, bottom: 0, itemGap: 8 });
    }
    option.grid.right = 6.3 * letters(figure) + 44;
    return Object.assign(option.legend, { orient: "vertical", left: holder.clientWidth - option.grid.right + 12, top: 30 });
  }

  // Pixels below the axis that names standing aslant take.
  const aslant = (figure, narrow) => Math.min(narrow ? 86 : 92, 24 + 5.2 * Math.max(0, ...figure.x.map((name) => name.length)));

  function frame(figure, c, narrow, wide) {
    const label = { color: c.soft, fontSize: 11 };
    const several = named(figure).length > (figure.kind === "scatter" ? 0 : 1);
    const crowded = figure.numeric || upright(figure) ? {} : { interval: Math.max(0, Math.ceil((14 * figure.x.length) / wide) - 1) };
    const x = {
      type: figure.numeric ? "value" : "category", data: figure.numeric ? undefined : figure.x, name: figure.xLabel,
      nameLocation: "middle", nameGap: upright(figure) ? 28 : aslant(figure, narrow), nameTextStyle: label,
      axisLabel: Object.assign({}, label, figure.numeric ? {} : { rotate: upright(figure) ? 0 : 55, formatter: tail, hideOverlap: true }, crowded),
      axisLine: { lineStyle: { color: c.line } }, axisTick: { show: false }, splitLine: { show: false },
    };
    const limits = figure.limits || [null, null];
    const side = figure.flat ? Math.min(260, 0.46 * wide, 16 + 5.6 * Math.max(0, ...figure.x.map((name) => name.length))) : narrow ? 46 : 58;
    if (figure.flat) {
      Object.assign(x, { name: "", inverse: true });
      x.axisLabel = Object.assign({}, label, { interval: 0, formatter: (name) => cut(name, Math.floor((side - 10) / 5.6)) });
    }
    const y = {
      type: figure.log ? "log" : "value", name: figure.yLabel, nameLocation: "end", nameGap: 12,
      nameTextStyle: Object.assign({ align: "left", padding: [0, 0, 0, narrow ? -34 : -44] }, label), scale: figure.kind !== "bars",
      min: limits[0] === null ? undefined : limits[0], max: limits[1] === null ? undefined : limits[1],
      axisLabel: Object.assign({ showMaxLabel: limits[1] === null || Number(limits[1].toFixed(1)) === limits[1] }, label, figure.log ? { formatter: power } : {}),
      axisLine: { show: false, onZero: false }, splitLine: { lineStyle: { color: c.grid } },
    };
    if (figure.flat) Object.assign(y, { nameLocation: "middle", nameGap: 28, nameTextStyle: label });
    return {
      animation: false, textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: c.ink },
      grid: { left: side, right: 14, top: figure.flat ? (several ? 28 : 8) : several ? 52 : 36, bottom: upright(figure) || figure.flat ? 46 : aslant(figure, narrow) + (narrow ? 22 : 24) },
      legend: several ? { top: 0, right: 0, itemWidth: 14, itemHeight: 8, textStyle: label, data: named(figure) } : undefined,
      tooltip: {
        trigger: "axis", renderMode: "richText", confine: true, backgroundColor: c.card, borderColor: c.line,
        textStyle: { color: c.ink, fontSize: 12 }, valueFormatter: format,
      },
      xAxis: figure.flat ? y : x, yAxis: figure.flat ? x : y,
    };
  }

  // The healthy part of the axis.
  function shade(figure, series, c) {
    if (!figure.range) return;
    const edges = figure.range.map((edge) => (figure.flat ? { xAxis: edge } : { yAxis: edge }));
    series.markArea = { silent: true, itemStyle: { color: c.good, opacity: 0.12 }, data: [edges] };
  }

  function lines(figure, c) {
    const marks = new Set(figure.marks);
    const shown = (value) => (figure.log && !(value > 0) ? null : value);
    const made = Object.entries(figure.series).map(([name, values]) => {
      const tone = colour(figure, name, c);
      const lone = (figure.points || []).includes(name);
      const dense = !lone && (figure.filled || values.length > 60 || name in (figure.dashed || {}) || name !== owner(figure, name));
      const data = values.map((value, j) => {
        const point = { value: figure.numeric ? [figure.x[j], shown(value)] : shown(value) };
        if (marks.has(figure.x[j])) point.itemStyle = { color: c.card, borderColor: tone, borderWidth: 1.6 };
        return point;
      });
      return {
        name: owner(figure, name), type: "line", data: data, color: tone, symbol: "circle", symbolSize: dense ? 0 : 6.5, z: 3,
        step: figure.filled ? "middle" : undefined, areaStyle: figure.filled ? { color: tone, opacity: 0.5 } : undefined,
        showSymbol: !dense, showAllSymbol: lone || "auto", lineStyle: { width: lone || figure.filled ? 0 : dense ? 1.4 : 1.6, color: tone, type: (figure.dashed || {})[name] ? "dashed" : "solid" },
        connectNulls: false, emphasis: many(figure) ? { focus: "series" } : {},
      };
    });
    shade(figure, made[0], c);
    above(figure, made, c);
    return made.concat(Object.keys(figure.bands || {}).map((name) => (figure.whiskers ? beside : band)(figure, name, c, shown)));
  }

  // Whiskers of several lines, a few pixels apart.
  function beside(figure, name, c) {
    const names = Object.keys(figure.series);
    const off = 4 * (names.indexOf(name) - (names.length - 1) / 2);
    const style = { stroke: colour(figure, name, c), lineWidth: 1.4, opacity: 0.75 };
    const draw = (_, api) => {
      const ends = [1, 2].map((i) => api.coord([api.value(0), api.value(i)]));
      if (!ends.flat().every(Number.isFinite)) return undefined;
      return { type: "line", shape: { x1: ends[0][0] + off, y1: ends[0][1], x2: ends[1][0] + off, y2: ends[1][1] }, style: style };
    };
    const data = figure.x.map((_, j) => [j, ...figure.bands[name].map((side) => (side[j] === null ? "-" : side[j]))]);
    return { name: name, type: "custom", data: data, renderItem: draw, encode: { x: 0, y: [1, 2] }, silent: true, color: style.stroke, z: 2, clip: true };
  }

  // A word for each x, below the upper edge; of points the tooltip has it.
  function above(figure, made, c) {
    if (!figure.said || !figure.said.length || figure.points) return;
    const label = { show: true, position: "bottom", distance: 2, color: c.ink, fontSize: 11, fontWeight: 600, formatter: (p) => figure.said[p.dataIndex] };
    made.push({ name: "", type: "line", data: figure.x.map(() => figure.limits[1]), symbol: "circle", symbolSize: 1, showSymbol: true, showAllSymbol: true, itemStyle: { color: "transparent" }, lineStyle: { width: 0 }, label: label, silent: true, tooltip: { show: false }, z: 5 });
  }

  // One shape for each stretch without a gap, drawn with the first point: pieces would show their seams.
  function band(figure, name, c, shown) {
    const rows = figure.x.map((x, j) => [figure.numeric ? x : j, ...figure.bands[name].map((side) => shown(side[j]))]);
    const whole = (row) => row.every((value) => value !== null);
    const runs = rows.reduce((made, row) => {
      if (!whole(row)) made.push([]);
      else made[made.length - 1].push(row);
      return made;
    }, [[]]).filter((run) => run.length > 1);
    const tone = colour(figure, name, c);
    const draw = (params, api) => {
      if (params.dataIndex > 0) return undefined;
      const children = runs.map((run) => {
        const low = run.map((row) => api.coord([row[0], row[1]]));
        const high = run.map((row) => api.coord([row[0], row[2]]));
        return { type: "polygon", shape: { points: low.concat(high.reverse()) }, style: { fill: tone, opacity: 0.18 } };
      });
      return { type: "group", children: children };
    };
    const data = rows.map((row) => row.map((value) => (value === null ? "-" : value)));
    return { name: name, type: "custom", data: data, renderItem: draw, encode: { x: 0, y: [1, 2] }, silent: true, color: tone, z: 2, clip: true };
  }

  // Bars may have colours of their own; the others of such a figure are grey.
  function toned(figure, value, name, c) {
    if (!figure.tones) return value;
    const at = figure.tones[name];
    return { value: value, itemStyle: { color: at === undefined ? c.none : c.accent[at % c.accent.length] } };
  }

  function bars(figure, c) {
    const layout = { barMaxWidth: 16, barGap: "10%" };
    const made = Object.entries(figure.series).map(([name, values]) =>
      Object.assign({ name: name, type: "bar", data: values.map((value, i) => toned(figure, value, figure.x[i], c)), color: colour(figure, name, c), emphasis: many(figure) ? { focus: "series" } : {} }, layout),
    );
    shade(figure, made[0], c);
    return made.concat(Object.keys(figure.bands || {}).map((name) => whisker(figure, name, c, layout)));
  }

  function whisker(figure, name, c, layout) {
    const names = Object.keys(figure.series);
    const data = figure.x.map((_, j) => [j, ...figure.bands[name].map((side) => (side[j] === null ? "-" : side[j]))]);
    const draw = (_, api) => {
      const place = (i) => api.coord(figure.flat ? [api.value(i), api.value(0)] : [api.value(0), api.value(i)]);
      const [low, high] = [place(1), place(2)];
      if (![...low, ...high].every(Number.isFinite)) return undefined;
      const off = api.barLayout(Object.assign({ count: names.length }, layout))[names.indexOf(name)].offsetCenter;
      const [dx, dy] = figure.flat ? [0, off] : [off, 0];
      const shape = { x1: low[0] + dx, y1: low[1] + dy, x2: high[0] + dx, y2: high[1] + dy };
      // A light edge, by which it is seen on a dark bar.
      const strokes = [{ stroke: c.card, lineWidth: 3.4 }, { stroke: c.ink, lineWidth: 1.2 }];
      return { type: "group", children: strokes.map((style) => ({ type: "line", shape: shape, style: style })) };
    };
    return { name: name, type: "custom", data: data, renderItem: draw, encode: figure.flat ? { x: [1, 2], y: 0 } : { x: 0, y: [1, 2] }, silent: true, color: colour(figure, name, c), z: 4 };
  }

  // A logarithmic axis as long as what it shows, and not to the next powers of ten.
  function fitted(figure, option) {
    const [least, most] = figure.limits || [0, Infinity];
    const seen = (value) => value > 0 && value >= least && value <= most;
    const values = Object.values(figure.series).concat(...Object.values(figure.bands || {})).flat().filter(seen);
    const step = (value) => 10 ** Math.floor(Math.log10(value));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    if (!values.length) return;
    Object.assign(option.yAxis, { min: Math.floor(low / step(low)) * step(low), max: Math.ceil(high / step(high)) * step(high) });
    // Few decades have several labels each, many one or less.
    const [from, to] = [option.yAxis.min, option.yAxis.max];
    const decades = Math.ceil(Math.log10(to / from)) + 1;
    const digits = to < 8 * from ? [1, 1.5, 2, 3, 4, 6, 8] : to < 300 * from ? [1, 2, 5] : [1];
    const every = Array.from({ length: decades }, (_, i) => i * Math.ceil(decades / 12));
    const ticks = every.flatMap((i) => digits.map((digit) => digit * step(from) * 10 ** i)).filter((tick) => tick >= from && tick <= to);
    option.yAxis.axisLabel.customValues = ticks;
    option.yAxis.axisTick = { show: false, customValues: ticks };
  }

  // A line of a tooltip for each series: its number, where it may lie, and what was predicted.
  function ranged(figure) {
    const told = (name, j) => {
      const [low, high] = (figure.bands[name] || [[], []]).map((side) => side[j]);
      const guess = Object.keys(figure.dashed).find((one) => figure.dashed[one] === name && one !== name);
      const range = low === undefined || low === null || high === null ? "" : " (" + format(low) + " to " + format(high) + ")";
      return format(figure.series[name][j]) + range + (guess ? ", predicted " + format(figure.series[guess][j]) : "");
    };
    return (points) => {
      const seen = new Map(points.filter((point) => point.seriesName in figure.series).map((point) => [point.seriesName, point]));
      const rows = Array.from(seen, ([name, point]) => point.marker + name + "  " + told(name, points[0].dataIndex));
      const at = points[0].dataIndex;
      return [figure.numeric ? format(figure.x[at]) : figure.x[at], ...rows, ...(figure.notes && figure.notes.length ? [figure.notes[at]] : [])].join("\n");
    };
  }

  // Points of a plane, a corner of which is set apart; each tells what it is.
  function scatter(figure, c, option, narrow) {
    const made = Object.entries(figure.series).map(([name, values]) => ({
      name: name, type: "scatter", progressive: 0, progressiveThreshold: 1e9, color: colour(figure, name, c), symbolSize: narrow ? 6 : 7, itemStyle: { opacity: 0.75 },
      data: values.map((value, j) => [figure.x[j], value, j]).filter((point) => point[1] !== null), encode: { x: 0, y: 1 },
    }));
    if (figure.corner) {
      const [left, bottom, right, top] = figure.corner;
      const label = { show: true, position: "insideTopRight", color: c.bad, fontSize: 11, formatter: figure.said.join(", ") };
      option.xAxis.max = right;
      option.xAxis.axisLabel.showMaxLabel = false;
      made[0].markArea = { silent: true, itemStyle: { color: c.bad, opacity: 0.1 }, label: label, data: [[{ coord: [left, bottom] }, { coord: [right, top] }]] };
    }
    option.tooltip.trigger = "item";
    option.tooltip.formatter = (p) => figure.notes[p.value[2]].replace(": ", "\n");
    return made;
  }

  // On a logarithmic axis a whisker to zero is left out, and a box that begins there is a gap.
  const positive = (row) => (row.slice(1).every((value) => value > 0) ? [row[0] > 0 ? row[0] : row[1], ...row.slice(1)] : row.map(() => "-"));

  function boxes(figure, c) {
    return Object.entries(figure.series).map(([name, rows]) => {
      const tone = colour(figure, name, c);
      return {
        name: name, type: "boxplot", data: figure.log ? rows.map(positive) : rows, boxWidth: [3, 13], color: tone,
        itemStyle: { color: c.card, borderColor: tone, borderWidth: 1.4 },
      };
    });
  }

  const cell = (odd, bright) => (_, api) => {
    const [x, y] = api.coord([api.value(0), api.value(1)]);
    const [width, height] = api.size([1, 1]);
    // A pixel under the next cell, or the seams shine through.
    const shape = { x: x - width / 2, y: y - height / 2, width: width + 1, height: height + 1 };
    const word = () => ({ type: "text", style: { text: api.value(3) ? "" : api.value(2).toFixed(2).replace("-0.00", "0.00"), fontSize: 10, fill: bright(api.value(4)) ? "#14273d" : "#fff" } });
    const more = bright && width > 22 ? { textContent: word(), textConfig: { position: "inside" } } : {};
    return Object.assign({ type: "rect", shape: shape, style: { fill: odd[api.value(3)] || api.visual("color") } }, more);
  };

  function heat(figure, c, option, narrow) {
    // Not the series' keys: a script reads those that look like numbers first.
    const names = figure.rows.slice().reverse();
    const data = [];
    const odd = (name, value, column) => (value !== null ? 0 : figure.zero[name].includes(column) ? 1 : 2);
    const bright = (value) => (value - figure.limits[0]) / (figure.limits[1] - figure.limits[0]) > 0.55;
    const [least, most] = figure.limits.slice().sort((a, b) => a - b);
    const within = (value) => (value === null ? "-" : Math.min(most, Math.max(least, value)));
    names.forEach((name, row) => figure.series[name].forEach((value, column) => data.push([column, row, value === null ? "-" : value, odd(name, value, column), within(value)])));
    option.yAxis = {
      type: "category", data: names, axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false },
      axisLabel: { color: c.soft, fontSize: 11, formatter: tail, hideOverlap: true },
    };
    option.grid = { left: figure.wide ? (narrow ? 96 : 132) : 68, right: 14, top: 8, bottom: 92 };
    if (!figure.wide) {
      option.yAxis.axisLabel.interval = Math.max(0, Math.ceil(names.length / 10) - 1);
      Object.assign(option.yAxis, { name: figure.yLabel, nameLocation: "middle", nameGap: 52, nameTextStyle: option.xAxis.nameTextStyle });
    }
    option.xAxis.axisLabel = { color: c.soft, fontSize: 11, interval: figure.wide ? Math.ceil(figure.x.length / (narrow ? 4 : 8)) - 1 : Math.max(0, Math.ceil(figure.x.length / (figure.x.every((name) => name.length < 4) ? 8 : 4)) - 1) };
    option.visualMap = {
      dimension: 4,
      min: figure.limits[0], max: figure.limits[1], calculable: false, orient: "horizontal", left: "center", bottom: 0,
      itemWidth: 10, itemHeight: !figure.wide ? 110 : narrow ? 140 : 240, text: [figure.ends[1], figure.ends[0]], textStyle: { color: c.soft, fontSize: 11 },
      inRange: { color: c.heat }, precision: 2,
    };
    option.tooltip.trigger = "item";
    const told = (p) => ({ x: figure.x[p.value[0]], y: names[p.value[1]], value: [format(p.value[2]), ...figure.apart][p.value[3]] });
    // Of a cell of a map that has no number there is no quantity to name.
    const said = (p) => (figure.kind === "map" && p.value[3] ? figure.cell.replace(/[^\n]*\{value\}/, "{value}") : figure.cell);
    option.tooltip.formatter = (p) => said(p).replace(/\{(x|y|value)\}/g, (_, key) => told(p)[key]);
    // Not a "heatmap": that one paints a canvas of its own, which Chromium leaves out on paper.
    // In one go: thousands of cells painted bit by bit would have canvases of their own, too.
    return [{ type: "custom", progressive: 0, data: data, renderItem: cell([null, c.none, c.bad], figure.written && bright), encode: { x: 0, y: 1, tooltip: 2 } }];
  }

  // A heat map whose first row is on top, as square as its numbers of layers, with thin lines over it.
  const edge = (names) => 12 + 5.6 * Math.min(17, Math.max(...names.map((name) => name.length)));
  function map(figure, c, option, narrow, holder) {
    const made = heat(figure, c, option, narrow);
    const named = { nameLocation: "middle", nameTextStyle: { color: c.soft, fontSize: 11 } };
    const label = { color: c.soft, fontSize: 10, formatter: (name) => cut(name, 17) };
    const room = mapRoom(figure);
    option.grid = { left: room.left, right: 8, top: 4, bottom: room.bottom };
    const every = (count, pixels, step) => Math.max(0, Math.ceil((count * step) / pixels) - 1);
    const tall = holder.clientHeight - room.bottom - 4;
    const led = (label, pixels) => label.slice(0, 3) + cut(label.slice(3), Math.floor(pixels / 5.6));
    Object.assign(option.yAxis, named, { name: led(figure.yLabel, tall), nameGap: edge(figure.rows) });
    option.yAxis.axisLabel = Object.assign({ interval: (i) => (figure.rows.length - 1 - i) % (every(figure.rows.length, tall, 13) + 1) === 0 }, label);
    Object.assign(option.xAxis, named, { name: led(figure.xLabel, holder.clientWidth - room.left), nameGap: edge(figure.x) * 0.8 + 2 });
    option.xAxis.axisLabel = Object.assign({ interval: every(figure.x.length, holder.clientWidth - room.left, 15), rotate: 55 }, label);
    delete option.visualMap.text;
    option.visualMap.show = false;
    if (figure.limits[0] > figure.limits[1]) Object.assign(option.visualMap, { min: figure.limits[1], max: figure.limits[0], inRange: { color: c.heat.slice().reverse() } });
    const place = (api, x, y) => {
      const [at, size] = [api.coord([0, figure.rows.length - 1]), api.size([1, 1])];
      return [at[0] + x * size[0], at[1] + y * size[1]];
    };
    const draw = (params, api) => {
      const shapes = figure.lines.map(([x0, y0, x1, y1]) => [place(api, x0, y0), place(api, x1, y1)]);
      const line = (style) => shapes.map(([from, to]) => ({ type: "line", shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, style: style }));
      return { type: "group", children: [...line({ stroke: c.card, lineWidth: 2.2, opacity: 0.45 }), ...line({ stroke: c.ink, lineWidth: 0.8, opacity: 0.85 })] };
    };
    option.visualMap.seriesIndex = 0;
    return made.concat([{ type: "custom", data: [[0, 0]], renderItem: draw, silent: true, z: 5 }]);
  }

  function mapRoom(figure) {
    return { left: edge(figure.rows) + (figure.yLabel ? 20 : 0), bottom: 0.82 * edge(figure.x) + (figure.xLabel ? 24 : 4) };
  }

  // Down the page where it is narrow, so that labels have room.
  function sankey(figure, c, option, narrow, holder) {
    const { nodes, links, pieces, heads } = figure.flow;
    const margin = narrow ? { left: 4, right: 8, top: 24, bottom: 38 } : { left: 92, right: 92, top: 36, bottom: 30 };
    const long = narrow ? holder.clientHeight - margin.top - margin.bottom : holder.clientWidth - margin.left - margin.right;
    const thick = narrow ? 9 : 15;
    const at = (stage) => (stage * (long - thick)) / (heads.length - 1) + (narrow ? margin.top : margin.left + thick / 2);
    // The side of a layer stands below its name, which is cut to the room between columns.
    const room = Math.max(4, Math.floor(long / (heads.length - 1) / 7));
    const stacked = (head) => (narrow ? tail(head) : cut(head.slice(0, head.lastIndexOf(" ")), room) + "\n" + head.slice(head.lastIndexOf(" ") + 1));
    const soft = { fill: c.soft, font: "11px " + option.textStyle.fontFamily };
    option.graphic = heads.map((head, stage) => ({
      type: "text", silent: true, x: narrow ? margin.left : at(stage), y: narrow ? at(stage) - 5 : 30,
      style: Object.assign({ text: stacked(head), align: narrow ? "left" : "center", verticalAlign: "bottom", stroke: c.card, lineWidth: 3, lineHeight: 13 }, soft),
    }));
    option.graphic.push({ type: "text", silent: true, left: "center", bottom: 4, style: Object.assign({ text: (narrow ? "" : figure.xLabel + "; ") + "width: " + figure.yLabel }, soft) });
    ["xAxis", "yAxis", "grid", "legend"].forEach((key) => delete option[key]);
    option.tooltip.trigger = "item";
    option.tooltip.formatter = (p) => (p.dataType === "edge" ? links[p.data.link].join(" → ") : p.data.told) + "\n" + format(p.value);
    const label = (stage) => {
      if (stage === 0) return narrow ? "top" : "left";
      return stage === heads.length - 1 ? (narrow ? "bottom" : "right") : narrow ? "bottom" : "right";
    };
    return [Object.assign({
      type: "sankey", orient: narrow ? "vertical" : "horizontal", nodeAlign: "left", layoutIterations: 0, draggable: false,
      nodeWidth: thick, nodeGap: narrow ? 6 : 10, emphasis: { focus: "adjacency" }, labelLayout: { hideOverlap: true },
      label: { color: c.ink, fontSize: narrow ? 9.5 : 11, distance: 4, textBorderColor: c.card, textBorderWidth: 2 },
      data: nodes.map(([name, stage, text, tone], i) => ({
        name: String(i), told: text === "" ? links[parseInt(name, 10)].join(" → ") : name, depth: stage, itemStyle: { color: c.tones[tone], opacity: text ? 1 : 0.32, borderWidth: 0 },
        label: { show: text !== "", formatter: text, position: label(stage) },
      })),
      links: pieces.map(([start, end, width, link]) => {
        const tone = nodes[start][3] === "end" || nodes[end][3] === "cancelled" ? nodes[end][3] : nodes[start][3];
        return { source: String(start), target: String(end), value: width, link: link, lineStyle: { color: c.tones[tone], opacity: 0.32, curveness: 0.5 } };
      }),
    }, margin)];
  }

  const kinds = { lines: lines, bars: bars, boxes: boxes, heat: heat, map: map, sankey: sankey, scatter: scatter };

  function height(figure, narrow, holder) {
    if (figure.kind === "map") {
      const room = mapRoom(figure);
      const wide = holder.clientWidth - room.left - 8;
      return Math.min(1.6 * wide, Math.max(0.5 * wide, (wide * figure.rows.length) / figure.x.length)) + room.bottom + 4 + "px";
    }
    if (many(figure)) return narrow ? "calc(19rem + " + below(figure, holder.clientWidth) + "px)" : Math.max(21, 4.5 + 1.35 * named(figure).length) + "rem";
    if (figure.kind === "heat" && figure.wide) return Math.max(13, 7.5 + 1.35 * Object.keys(figure.series).length) + "rem";
    if (figure.flat) return 5 + 1.35 * figure.x.length * Math.max(1, 0.6 * named(figure).length) + "rem";
    return figure.kind === "sankey" ? (narrow ? 3 + 5.2 * figure.flow.heads.length + "rem" : "28rem") : "";
  }

  // Of frames, the one that the slider is at; on paper the last.
  function seen(holder) {
    const whole = figures[holder.dataset.chart];
    if (!whole.frames) return whole;
    const [slider, told] = ["input", "output"].map((name) => holder.parentElement.querySelector(name));
    const at = document.documentElement.dataset.print === undefined ? Number(slider.value) : whole.frames.length - 1;
    told.value = whole.titles[at];
    slider.setAttribute("aria-valuetext", whole.titles[at]);
    slider.oninput = () => draw(holder);
    return whole.frames[at];
  }

  function draw(holder) {
    const figure = seen(holder);
    const narrow = holder.clientWidth < 520;
    holder.style.height = height(figure, narrow, holder);
    const c = colours();
    const option = frame(figure, c, narrow, holder.clientWidth);
    if (many(figure)) crowd(figure, option, narrow, holder);
    if ((figure.bands || figure.ramp || figure.numeric) && figure.log) fitted(figure, option);
    if (figure.bands) option.tooltip.formatter = ranged(figure);
    option.series = kinds[figure.kind](figure, c, option, narrow, holder);
    if (drawn.has(holder)) drawn.get(holder).dispose();
    const chart = echarts.init(holder, null, { renderer: "canvas", devicePixelRatio: Math.max(2, window.devicePixelRatio) });
    chart.setOption(option);
    drawn.set(holder, chart);
  }

  const drawAll = () => holders.forEach(draw);
  drawAll();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) {
      width = window.innerWidth;
      drawAll();
    }
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  // The style sheet's print rules come too late for a canvas: paper's colours are asked for by name.
  const printing = (on) => () => {
    document.documentElement.toggleAttribute("data-print", on);
    drawAll();
  };
  window.addEventListener("beforeprint", printing(true));
  window.addEventListener("afterprint", printing(false));
  document.documentElement.dataset.drawn = String(drawn.size);
})();
