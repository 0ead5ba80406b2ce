"""The page in a browser without a network: everything drawn, nothing asked for, no complaint, on any screen."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import netassay as na
from netassay.figures import figure, figures
from netassay.report import page as written
from netassay.report import write_page
from netassay.report.sections import Section
from netassay.store import create, open_run
from tests import flowed, similar, stitched
from tests.exchanged import exchange
from tests.initialised import profile, study
from tests.pages import WEIRD, X, Y, net

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed", exc_type=ImportError)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

PAPER = 700
"""Pixels between the margins of a sheet, rounded up."""
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
INK = """
holder => {
  const canvas = holder.querySelector('canvas');
  if (!canvas) return 0;
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(data.slice(i, i + 3).join());
  return seen.size;
}
"""
TEXTS = """
holder => {
  const shown = [];
  const read = one => {
    if (one.style && one.style.text) shown.push(String(one.style.text));
    (one.children ? one.children() : []).forEach(read);
  };
  echarts.getInstanceByDom(holder).getZr().storage.getRoots().forEach(read);
  return shown;
}
"""
OWN = "if (one.getTextContent && one.getTextContent()) read(one.getTextContent());"
SAID = TEXTS.replace("(one.children ?", OWN + " (one.children ?")
"""The same with words that belong to a point."""
OVERFLOW = """
() => {
  const wide = document.documentElement.clientWidth;
  const beyond = one => one.getBoundingClientRect().right > wide + 0.5 && !one.closest('.scroll');
  const out = [...document.querySelectorAll('body *')].filter(beyond).map(one => one.outerHTML.slice(0, 80));
  return [document.documentElement.scrollWidth - wide, out];
}
"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of a trained network, of one with weird names and findings, and of exchange maps, one of weird names."""
    folder = tmp_path_factory.mktemp("browser")
    trained = na.examine("mlp[16,16]", "digits", epochs=2, out=folder / "trained")
    weird = na.examine(net(*WEIRD, dead=True), (X, Y), out=folder / "weird")
    named = [(WEIRD[0], 20, 64, "branch"), (WEIRD[1], 8, 20, "branch"), (WEIRD[2], 300, 8, "trunk")]
    odd = exchange(named, scale={WEIRD[2]: 0.0}, residual=[f"{WEIRD[0]},{WEIRD[1]}"])
    maps = {"exchange": {"start": exchange(seed=1), "end": exchange()}, "odd": {"end": odd}}
    maps["mixed"] = {"end": exchange([("fc", 70, 8, "trunk")], residual=[])}
    made = {"trained": trained.page, "weird": weird.page}
    made |= {name: stored(folder / name, results) for name, results in maps.items()}
    made |= {name: stored(folder / name, told, "") for name, told in alike().items()}
    made |= {name: stored(folder / name, told, "") for name, told in stitching().items()}
    flows = {name: stored(folder / name, results, "") for name, results in flowing().items()}
    return made | flows | {"init": initialised(folder / "init")}


def flowing():
    """Return what two pages show: a training with zeros and NaN beside all that asks why, and the same by odd names."""
    names = (*WEIRD, "d.e", "fc")
    odd = flowed.readings(
        shape=(names, (1, 2, 2, 3, 4), ("weight",) * 5, ("trunk", "branch", "branch", "trunk", "trunk"))
    )
    told = {"flow_study": flowed.study(), "prescribe": flowed.prescription(), "compare": flowed.comparison()}
    strange = {"flow_study": flowed.study(2, {WEIRD[0]: WEIRD}), "prescribe": flowed.prescription(names)}
    strange |= {"compare": flowed.comparison(WEIRD)}
    return {
        "flow": {"flow/training": flowed.broken(), **told},
        "odd flow": {"flow/training": flowed.flow(odd, [flowed.verdict(WEIRD[1])]), **strange},
    }


def alike():
    """Return what two pages show: maps and a trend, and the same by odd names, of several models, with gaps."""
    odd = similar.similarity_map(WEIRD, sides=((WEIRD[0], "b"), (WEIRD[1],)), measures=("procrustes",))
    strange = {"similarity": similar.undefined(similar.unlike(odd), f"{WEIRD[0]}/{WEIRD[1]}")}
    strange |= {"trend": similar.trend({WEIRD[0]: {one: 3 + i for i, one in enumerate(WEIRD)}})}
    deep = similar.similarity_map(similar.many(60), similar.many(120), measures=("cka", "procrustes"))
    plain = {"similarity/start": similar.similarity_map(twin=True), "similarity/seed": deep, "trend": similar.trend()}
    return {"alike": plain, "oddly alike": strange}


def stitching():
    """Return what two pages show: grids of one pair and of several, and of odd names with gaps."""
    odd = stitched.stitch_grid((*WEIRD, stitched.INSIDE), nets=((WEIRD[0], "b"), (WEIRD[1],)))
    several = stitched.stitch_grid(similar.many(40), similar.many(12), nets=(("p", "q"), ("r", "s")))
    plain = {"stitching/seed": stitched.refused(), "stitching/all": several}
    return {"stitched": plain, "oddly stitched": {"stitch_grid": stitched.undone(odd)}}


def initialised(folder):
    """Write a page of an initialisation study, and of a model beside its own initialisation."""
    with create(folder, model="m") as writer:
        writer.add("init_profile", profile(("weight",)))
    asked = [("init", "Initialisation", study()), ("own", "Its own initialisation", profile())]
    built = [Section(key, title, "Seen.", figures=tuple(figures({"": one}))) for key, title, one in asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "sections", lambda run, results: built)
        return write_page(open_run(folder))


def stored(folder, results, before="exchange/"):
    with create(folder, model="m") as writer:
        for when, result in results.items():
            writer.add(f"{before}{when}", result)
    return write_page(open_run(folder))


class Visit:
    """One page in a window of its own, and all that it said or asked for."""

    def __init__(self, context, path):
        self.said, self.asked, self.path = [], [], path
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]")

    def charts(self):
        return self.page.query_selector_all("[data-chart]")

    def all_is_well(self):
        """Every chart has ink; the console is silent; nothing but the file (and its empty icon) was asked for."""
        assert self.charts()
        assert [chart.get_attribute("data-chart") for chart in self.charts() if chart.evaluate(INK) < 3] == []
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:")] == [self.path.as_uri()]


@pytest.fixture
def visit(browser, pages):
    """Open a page offline, with options of the window; a request to anywhere else is stopped."""
    contexts = []

    def visit(name="trained", **options):
        context = browser.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        context.set_default_timeout(20_000)
        context.set_offline(True)
        context.route(lambda url: not url.startswith(("file:", "data:")), lambda route: route.abort())
        return Visit(context, pages[name])

    yield visit
    for context in contexts:
        context.close()


CHARTS = {
    "trained": 41,
    "weird": 24,
    "exchange": 12,
    "odd": 10,
    "init": 5,
    "flow": 17,
    "odd flow": 17,
    "alike": 19,
    "oddly alike": 9,
    "stitched": 14,
    "oddly stitched": 7,
}


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_every_chart_is_drawn_and_nothing_is_asked_for(visit, name, colours, viewport):
    """Light and dark, phone and desk: all charts, no console message, no request, no dialog, no sideways scroll."""
    seen = visit(name, viewport=viewport, color_scheme=colours)
    seen.all_is_well()
    assert len(seen.charts()) == CHARTS[name]
    assert seen.page.evaluate(OVERFLOW) == [0, []]


def test_tables_open_without_a_sideways_scroll(visit):
    """With all numbers unfolded, wide tables scroll inside themselves and the page stays as wide as the phone."""
    seen = visit(viewport=PHONE)
    seen.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert seen.page.evaluate(OVERFLOW) == [0, []]
    assert seen.page.is_visible("td >> nth=0")
    seen.all_is_well()


def test_colours_follow_the_reader(visit):
    """Switched to dark while open, the page and its charts change, without a complaint."""
    seen = visit(color_scheme="light")
    light = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    chart = seen.charts()[0].evaluate("one => one.querySelector('canvas').toDataURL()")
    seen.page.emulate_media(color_scheme="dark")
    seen.page.wait_for_timeout(100)
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert seen.charts()[0].evaluate("one => one.querySelector('canvas').toDataURL()") != chart
    seen.all_is_well()


@pytest.mark.parametrize("name", ["trained", "exchange", "init", "flow", "alike", "stitched"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_page_prints(visit, colours, name):
    """On paper it is light, charts fit and are one canvas each, tables are left out; the PDF has several pages."""
    seen = visit(name, color_scheme=colours)
    seen.page.emulate_media(media="print", color_scheme=colours)
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert all(chart.query_selector("canvas").bounding_box()["width"] <= PAPER for chart in seen.charts())
    assert {len(chart.query_selector_all("canvas")) for chart in seen.charts()} == {1}
    assert not seen.page.is_visible("details.numbers >> nth=0")
    paper = seen.page.pdf()
    assert paper.startswith(b"%PDF")
    assert len(paper) > 20_000
    seen.all_is_well()


@pytest.mark.parametrize("name", ["trained", "exchange"])
def test_charts_follow_the_width_of_the_window(visit, name):
    """A window made narrow draws again; charts stay inside it."""
    seen = visit(name, viewport=DESK)
    seen.page.set_viewport_size(PHONE)
    seen.page.wait_for_timeout(100)
    assert all(chart.query_selector("canvas").bounding_box()["width"] <= PHONE["width"] for chart in seen.charts())
    assert seen.page.evaluate(OVERFLOW)[0] == 0
    seen.all_is_well()


def test_a_tooltip_names_the_layer_and_its_number(visit):
    """Over a chart, the pointer brings up numbers, drawn on the canvas: the policy allows no styled element."""
    seen = visit("weird")
    chart = seen.charts()[0]
    chart.scroll_into_view_if_needed()
    before = chart.evaluate("one => one.querySelector('canvas').toDataURL()")
    box = chart.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    seen.page.wait_for_timeout(300)
    assert chart.evaluate("one => one.querySelector('canvas').toDataURL()") != before
    seen.all_is_well()


def test_a_panel_has_columns_on_a_desk_and_is_a_pile_on_a_phone(visit):
    """Side by side absorption stands above emission; on a phone every chart has the whole width."""
    lefts = []
    for viewport in (DESK, PHONE):
        seen = visit("exchange", viewport=viewport)
        boxes = [chart.bounding_box() for chart in seen.page.query_selector_all(".panel [data-chart]")]
        lefts.append(len({round(box["x"]) for box in boxes}))
        assert all(above["y"] < below["y"] for above, below in zip(boxes[::2], boxes[1::2], strict=True))
    assert lefts == [4, 1]


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_flow_tells_its_widths_under_the_pointer(visit, viewport):
    """Over the way around and over a heat map's cell, the canvas brings up what it is; no markup, no complaint."""
    seen = visit("exchange", viewport=viewport)
    for name, (x, y, told) in {
        "sankey": (0.25, 0.25, "block's output → around\n0."),
        "blocks": (0.6, 0.3, "log10 of mean block / largest: -"),
    }.items():
        chart = seen.page.query_selector(f"[data-chart=exchange-{name}]")
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        seen.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        seen.page.wait_for_timeout(300)
        assert any(told in text for text in chart.evaluate(TEXTS))
    seen.all_is_well()


GRID = """
() => [...document.querySelectorAll('[data-cell]')].map(one => {
  const box = one.getBoundingClientRect(), bins = [...one.querySelectorAll('.bins')];
  const said = one.parentElement.getBoundingClientRect();
  const inside = [...one.parentElement.querySelectorAll('.line span')];
  const out = inside.filter(span => span.getBoundingClientRect().right > said.right + 1).length;
  return [bins.length, box.width > 40, box.height > 30, out, getComputedStyle(bins[0]).fill];
})
"""


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_cells_of_a_grid_are_drawn_and_keep_their_words(visit, viewport):
    """Every cell has its two histograms, and its words stay in it; a phone scrolls a wide grid inside its own box."""
    seen = visit("init", viewport=viewport, color_scheme="light")
    cells = seen.page.evaluate(GRID)
    assert len(cells) == 70 + 2 * 21 + 10
    assert {tuple(one[:4]) for one in cells} == {(2, True, True, 0)}
    wide = seen.page.evaluate("(one => one.scrollWidth - one.clientWidth)(document.querySelector('.dense'))")
    assert (wide > 200) == (viewport is PHONE)
    assert seen.page.evaluate(OVERFLOW) == [0, []]
    seen.page.emulate_media(color_scheme="dark")
    assert seen.page.evaluate(GRID)[0][-1] != cells[0][-1]
    seen.all_is_well()


def test_a_grid_is_printed_whole(visit):
    """On paper it is light, and no cell is cut off, though the screen is dark."""
    seen = visit("init", viewport={"width": PAPER, "height": 900}, color_scheme="dark")
    seen.page.emulate_media(media="print", color_scheme="dark")
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    cells = seen.page.evaluate(GRID)
    assert ({one[3] for one in cells}, cells[0][-1]) == ({0}, "rgb(192, 138, 62)")
    boxes = [one.bounding_box() for one in seen.page.query_selector_all("[data-cell]")]
    assert max(box["x"] + box["width"] for box in boxes) <= PAPER
    seen.all_is_well()


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_grid_and_its_lines_tell_their_numbers(visit, viewport):
    """Over a cell its bin and densities, over a line its range and what was predicted; the legend names no more."""
    seen = visit("init", viewport=viewport)
    cell = seen.page.query_selector("[data-cell=init-weights-0]")
    cell.scroll_into_view_if_needed()
    box = cell.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = seen.page.inner_text(".tip").split("\n")
    assert " to " in told[0]
    assert [line.split(" density ")[0] for line in told[1:]] == ["start:", "end:"]
    seen.page.mouse.move(0, 0)
    assert not seen.page.is_visible(".tip")
    chart = seen.page.query_selector("[data-chart=init-depth]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 120)
    seen.page.wait_for_timeout(300)
    texts = "".join(chart.evaluate(TEXTS))
    assert texts.count("predicted") == 7
    assert re.search(r"orthogonal  [\d.e-]+ \([\d.e-]+ to [\d.e-]+\), predicted", texts)
    seen.all_is_well()


SHOWN = """
one => {
  const option = echarts.getInstanceByDom(one).getOption();
  return [one.parentElement.querySelector('output').value, option.series[0].data.map(point => point.value[1])];
}
"""


def test_a_slider_goes_through_the_frames(visit):
    """It begins at the last; keys and clicks move it, and the chart and its name follow; paper has the last again."""
    seen = visit("flow")
    chart = seen.page.query_selector("[data-chart=flow-histograms]")
    parts = {part.title: part for part in figure({"": flowed.broken()}, "histograms").parts}
    slider = seen.page.query_selector("input[type=range]")
    slider.scroll_into_view_if_needed()

    def shows(title):
        name, heights = chart.evaluate(SHOWN)
        np.testing.assert_allclose(heights, next(iter(parts[title].series.values())), rtol=1e-4)
        return name == title == slider.get_attribute("aria-valuetext")

    assert shows("epoch 5")
    slider.focus()
    seen.page.keyboard.press("ArrowLeft")
    assert shows("epoch 4")
    seen.page.keyboard.press("Home")
    assert shows("epoch 0")
    box = slider.bounding_box()
    seen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert shows(chart.evaluate(SHOWN)[0])
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert shows("epoch 5")
    seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert chart.evaluate(SHOWN)[0] in ("epoch 2", "epoch 3")
    seen.all_is_well()


def test_cells_of_zero_and_of_no_number_tell_so(visit):
    """Under the pointer, a grey cell is of zero and a red one not known; both have their own colour."""
    seen = visit("flow", color_scheme="light")
    chart = seen.page.query_selector("[data-chart=flow-heat]")
    chart.scroll_into_view_if_needed()
    place = "(one, at) => echarts.getInstanceByDom(one).convertToPixel({xAxisIndex: 0, yAxisIndex: 0}, at)"
    pixel = "(one, [x, y]) => one.querySelector('canvas').getContext('2d').getImageData(x, y, 1, 1).data.join()"
    ratio, box = seen.page.evaluate("Math.max(2, window.devicePixelRatio)"), chart.bounding_box()
    cells = (([40, 4], "201,197,184", "of zero"), ([50, 3], "179,64,47", "not known"))
    pixels = [chart.evaluate(place, at) for at, _, _ in cells]
    fills = [chart.evaluate(pixel, [ratio * x, ratio * y]) for x, y in pixels]  # before a tooltip casts its shadow
    assert fills == [f"{tone},255" for _, tone, _ in cells]
    for (x, y), (_, _, told) in zip(pixels, cells, strict=True):
        seen.page.mouse.move(box["x"] + x, box["y"] + y)
        seen.page.wait_for_timeout(300)
        assert any(f"log10 of the gradient {told}" in text for text in chart.evaluate(TEXTS))


def test_bars_that_lie_have_their_names_whole(visit):
    """On a desk every remedy is named in full, on the left; bars and whiskers begin at zero."""
    chart = visit("flow").page.query_selector("[data-chart=remedies-chi]")
    texts = chart.evaluate(TEXTS)
    assert [text for text in texts if text in flowed.REMEDIES] == sorted(
        flowed.REMEDIES, key=[*flowed.REMEDIES[1:], flowed.REMEDIES[0]].index
    )
    assert (
        chart.evaluate(
            "one => echarts.getInstanceByDom(one).getModel().getComponent('xAxis').axis.scale.getExtent()[0]"
        )
        == 0
    )


MAP = """
(holder) => {
  const chart = echarts.getInstanceByDom(holder);
  const [grid] = chart.getModel().queryComponents({mainType: 'grid'});
  const {x, y, width, height} = grid.coordinateSystem.getRect();
  return [x, y, width, height];
}
"""


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_cell_of_a_map_tells_its_layers_and_its_number(visit, viewport):
    """Over the corner of the first layer of a and the last of b; a cell that chance explains says so."""
    made = similar.similarity_map(twin=True)
    values = [np.asarray(made.arrays[name])[0, -1] for name in ("cka", "cka/null")]
    seen = visit("alike", viewport=viewport)
    for i, value in enumerate(values):
        chart = seen.page.query_selector(f"[data-chart=similarity-map-start-{i}]")
        chart.scroll_into_view_if_needed()
        box, (x, y, wide, tall) = chart.bounding_box(), chart.evaluate(MAP)
        seen.page.mouse.move(box["x"] + x + wide * 7.5 / 8, box["y"] + y + tall * 0.5 / 8)
        seen.page.wait_for_timeout(300)
        told = f"a: layer1.0.conv1\nb: layer4.1.conv1\n{value:.4g}"
        assert any(told in text for text in chart.evaluate(TEXTS))
        assert 0.95 < wide / tall < 1.05
    odd = visit("oddly alike", viewport=viewport)
    chart = odd.page.query_selector("[data-chart=similarity-map-2]")
    chart.scroll_into_view_if_needed()
    box, (x, y, wide, tall) = chart.bounding_box(), chart.evaluate(MAP)
    for row, word in ((0, "not told from chance"), (1, "not defined")):
        odd.page.mouse.move(box["x"] + x + wide / 2, box["y"] + y + tall * (row + 0.5) / 6)
        odd.page.wait_for_timeout(300)
        assert any(word in text for text in chart.evaluate(TEXTS))
    seen.all_is_well()
    odd.all_is_well()


def test_a_point_tells_the_match_and_its_interval_and_sizes_their_pattern(visit):
    """Over a layer the match with its score; above each size of a trend the pattern that is told."""
    seen = visit("alike")
    chart = seen.page.query_selector("[data-chart=similarity-best-start]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 140)
    seen.page.wait_for_timeout(300)
    assert re.search(r"layer\d.\d.conv1: 0\.\d+ \(0\.\d+ to 0\.\d+\), p 0.005; next", "".join(chart.evaluate(TEXTS)))
    chart = seen.page.query_selector("[data-chart=sizes-trend-0]")
    texts = chart.evaluate(SAID)
    assert [text for text in texts if text in ("triangle", "diagonal")].count("triangle") == 3  # one in the legend
    seen.all_is_well()


def test_rows_of_a_heat_map_stand_in_their_order(visit):
    """Also where some bins hold one channel and look like numbers, which a script would read first."""
    chart = visit("mixed").page.query_selector("[data-chart=exchange-blocks]")
    rows = chart.evaluate("one => echarts.getInstanceByDom(one).getOption().yAxis[0].data")
    assert rows[::-1] == [*(f"{2 * i}–{2 * i + 1}" for i in range(6)), *map(str, range(12, 70))]


def test_weird_names_are_shown_as_they_are(visit):
    """A layer called like a script tag is read, letter by letter, in a finding; it makes no element."""
    seen = visit("weird")
    shown = seen.page.locator(".verdict code").all_inner_texts()
    assert WEIRD[1] in shown
    assert seen.page.locator("img").count() == 0
    assert seen.page.title().endswith("netassay")
    seen.all_is_well()


def test_the_policy_stops_what_is_not_the_pages_own(pages, tmp_path, browser):
    """A script or an image added to the file is refused by the browser: the policy is in force."""
    changed = tmp_path / "changed.html"
    added = "<script>document.title = 'changed'</script><img src='https://example.org/x.png'></body>"
    before, _, after = pages["trained"].read_text().rpartition("</body>")
    changed.write_text(before + added + after)
    context = browser.new_context(offline=True)
    seen = Visit(context, changed)
    assert seen.page.title() != "changed"
    assert sum("Content Security Policy" in message for message in seen.said) == 2
    context.close()
