"""The page: whole without network, true to the files, readable in a real browser."""

import html
import json
import math
import os
import re
from pathlib import Path

import browser
import pytest
import report_run

import claims
import report
import table1
from fusionchat.page.page import Section, document, figures
from fusionchat.tables.table import Table, html_table

ROOT = Path(__file__).resolve().parents[3]
SHOWN = ("tiny_openchat", *report_run.SOURCES, "clm", "varm")

CONTRAST = """
function channels(text) { return text.match(/[\\d.]+/g).map(Number); }
function luminance(c) {
  const l = c.slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
  return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2];
}
function background(node) {
  for (; node; node = node.parentElement) {
    const c = channels(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) { return c; }
  }
  return [255, 255, 255];
}
const bad = [];
for (const node of document.querySelectorAll("body *")) {
  const own = Array.from(node.childNodes).some(n => n.nodeType === 3 && n.data.trim());
  if (!own || node.getClientRects().length === 0) { continue; }
  const a = luminance(channels(getComputedStyle(node).color)), b = luminance(background(node));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) { bad.push(node.tagName + " " + ratio.toFixed(2)); }
}
return bad;
"""
OVERLAPS = """
const bad = [];
for (const parent of document.querySelectorAll("body, main, main section, .answers, .example")) {
  const boxes = Array.from(parent.children).map(n => [n, n.getBoundingClientRect()])
    .filter(pair => pair[1].width > 0 && pair[1].height > 0);
  for (let i = 0; i < boxes.length; i++) {
    for (let j = i + 1; j < boxes.length; j++) {
      const a = boxes[i][1], b = boxes[j][1];
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 1 && y > 1) { bad.push(boxes[i][0].className + "/" + boxes[j][0].className); }
    }
  }
}
return bad;
"""
VISIBLE = """
const seen = s => Array.from(document.querySelectorAll(s)).filter(n => !n.hidden);
return [seen(".example").map(n => n.dataset.category),
        seen(".example:not([hidden]) .answer").map(n => n.dataset.model),
        document.getElementById("shown").value];
"""


def choose(name, value):
    return (
        f"const s = document.getElementById('{name}'); s.value = '{value}';"
        "s.dispatchEvent(new Event('change')); return null;"
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a small run with one table, one figure and three models' dialogues."""
    run = report_run.make_run(tmp_path_factory.mktemp("run"))
    scores = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows()]
    table1.main([*scores, "--baseline", "clm", "--output", str(run / "tables/table1")])
    figure = run / "figures/scores.svg"
    figure.parent.mkdir()
    figure.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="500pt" height="9pt"></svg>')
    (run / "config.yaml").write_text(json.dumps(report_run.config()))  # JSON is YAML
    costs = "rule,jobs,seconds,cpu_seconds,peak_mb\ntrain_target,2,150.0,110.0,512.0\n"
    (run / "costs.csv").write_text(costs)
    answers, judgments = (
        [str(run / f"mt_bench/{kind}/{model}.jsonl") for model in SHOWN]
        for kind in ("answers", "judgments/rule")
    )
    words = ["--configfile", str(run / "config.yaml"), *scores[:2]]
    words += ["--tables", str(run / "tables/table1.html"), "--figures", str(figure)]
    nll = [str(path) for path in sorted((run / "nll").glob("*.json"))]
    claimed = ["--claim", "fusion:varm:clm", "--claim", "weights:varm:"]
    files = ["--figure", str(run / "figures/claims"), "--output", str(run / "tables/claims")]
    claims.main([*scores, *claimed, "--nll", *nll, *files])
    words += ["--picture", str(run / "figures/claims.svg")]
    winners = "target,category,teacher,dialogues,share\n"
    winners += "multi,all,tiny_openchat,9,1.0\nmulti,all,tiny_solar,0,0.0\n"
    (run / "winners.csv").write_text(winners)
    words += ["--winners", str(run / "winners.csv")]
    words += ["--captions", str(ROOT / "resources/captions")]
    words += ["--questions", str(run / "questions.jsonl"), "--answers", *answers]
    words += ["--judgments", *judgments, "--examples", "2"]
    words += ["--nll", *(str(path) for path in sorted((run / "nll").glob("*.json")))]
    words += ["--manifests", str(run / "merged/varm/manifest.json")]
    quality = "source,one_to_one,many_to_one,fallback,listed_mass,kept,dialogues,excluded\n"
    quality += "tiny_solar,0.75,0.125,0.125,0.9231,0.998,24,2\n"
    (run / "alignment.csv").write_text(quality)
    words += ["--alignment", str(run / "alignment.csv")]
    words += ["--costs", str(run / "costs.csv")]
    report.main([*words, "--output", str(run / "report.html")])
    return run / "report.html"


def test_page_loads_nothing(page):
    text = page.read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in text
    assert "url(" not in text


def test_page_escapes_what_models_said(page):
    text = page.read_text()
    for foreign in ("<i>", "<&%_#>", "<tag>", "Ask <b>0"):
        assert foreign not in text
        assert html.escape(foreign) in text


def test_page_names_the_file_of_each_table_and_figure(page):
    text = page.read_text()
    notes = re.findall(r'<p class="note">Numbers: (.*?)</p>', text)
    numbers = [re.findall("<code>([^<]*)</code>", note) for note in notes]
    assert numbers[:2] == [["tables/table1.csv"]] * 2
    assert [f"mt_bench/judgments/rule/{model}.jsonl" for model in SHOWN] == numbers[2][len(SHOWN) :]
    assert numbers[3:] == [["winners.csv"], ["alignment.csv"], ["costs.csv"]]
    listed = text.split('id="files"')[1]
    used = {*page.parent.glob("nll/*.json"), *page.parent.glob("*.csv")}
    for name in ("tables/table1.csv", "figures/scores.svg", "config.yaml", "questions.jsonl"):
        used.add(page.parent / name)
    used.add(page.parent / "merged/varm/manifest.json")
    used |= {page.parent / f"mt_bench/answers/{model}.jsonl" for model in SHOWN}
    for path in used:
        assert f">{path.relative_to(page.parent)}<" in listed, path
    assert ">mt_bench/scores.parquet<" in listed
    assert "ab" * 6 in text, "checksum of the checkpoint"
    assert '<td class="text">8 x NVIDIA A100</td>' in text
    assert "2.5 min" in text, "cost of training"
    assert "<td>12.5%</td>" in text
    assert "<td>0.923</td><td>99.8%</td><td>24</td><td>2</td>" in text


def test_page_says_what_can_be_concluded(page):
    text = page.read_text()
    listed = re.search(r'<ul class="findings">(.*?)</ul>', text).group(1)
    assert re.search(r"difference [+−]\d\.\d\d \(95% [+−]\d\.\d\d to [+−]\d\.\d\d", listed)
    assert re.search(r"(not resolvable|higher|lower)", listed)
    assert "for these checkpoints" in listed


def recomputed(page, model):
    """Category means, then their mean, from the judgment records alone."""
    lines = (page.parent / f"mt_bench/judgments/rule/{model}.jsonl").read_text().splitlines()
    categories = {}
    for line in (page.parent / "questions.jsonl").read_text().splitlines():
        record = json.loads(line)
        categories[record["question_id"]] = record["category"]
    scores = {}
    for record in map(json.loads, lines):
        scores.setdefault(record["question_id"], []).append(record["score"])
    means = []
    for category in dict.fromkeys(categories.values()):
        complete = [
            sum(turns) / 2
            for question, turns in scores.items()
            if categories[question] == category and min(turns) > 0
        ]
        means.append(sum(complete) / len(complete))
    return [*means, sum(means) / len(means)]


def printed(value):
    return f"{math.floor(value * 100 + 0.5 + 1e-7) / 100:.2f}"


def test_numbers_on_the_page_follow_from_the_judgment_files(page):
    text = page.read_text()
    table = text.split("<span>Table 1: MT-Bench scores")[1].split("</table>")[0]
    for model in report_run.MODELS:
        label = report_run.LABELS.get(model, model.replace("_", " ").title())
        row = table.split(f">{html.escape(label)}</th>")[1].split("</tr>")[0]
        cells = re.findall(r"<td>([^<]*)</td>", row)
        assert cells[:9] == [printed(value) for value in recomputed(page, model)], model
    ours, base = (recomputed(page, model)[-1] for model in ("varm", "clm"))
    difference = f"difference {'+' if ours > base else '−'}{printed(abs(ours - base))} (95% "
    assert f"scores {printed(ours)} and CLM {printed(base)}: {difference}" in text


def test_the_likelihoods_on_the_page_follow_from_their_files(page):
    ours, base = (json.loads((page.parent / f"nll/{m}.json").read_text()) for m in ("varm", "clm"))
    difference = ours["nll_byte"] - base["nll_byte"]
    sign = "+" if difference > 0 else "−"
    listed = re.search(r'<ul class="findings">(.*?)</ul>', page.read_text()).group(1)
    assert f"paired difference {sign}{abs(difference):.4f} (95% " in listed


def test_every_figure_and_table_has_a_caption():
    programs = [path.stem.removeprefix("figure_") for path in (ROOT / "scripts").glob("figure*.py")]
    for name in (*programs, "table1", "table2", "case_study", "memory_efficiency", "report"):
        assert (ROOT / f"resources/captions/{name}.rst").read_text().strip()


@pytest.fixture(scope="module", params=["desktop", "phone"])
def window(request, tmp_path_factory):
    if why := browser.missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    size = {"desktop": (1280, 900), "phone": (390, 844)}[request.param]
    profile = tmp_path_factory.mktemp("profile")
    found = browser.Browser(profile, *size, phone=request.param == "phone")
    yield found
    found.close()


def test_browser_reads_the_page(page, window):
    window.open(page)
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    needed, given = window.run(widths)
    assert needed <= given, "the page must not scroll sideways"
    window.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert window.run(OVERLAPS) == []
    assert window.run(CONTRAST) == []
    assert window.console() == []


OUTLINE = """
const levels = Array.from(document.querySelectorAll("h1, h2, h3, h4, h5, h6"))
  .map(n => Number(n.tagName[1]));
const bad = levels.filter((level, i) => i && level > levels[i - 1] + 1).map(String);
if (levels.filter(level => level === 1).length !== 1) { bad.push("h1"); }
for (const table of document.querySelectorAll("table")) {
  if (!table.caption || !table.caption.textContent.trim()) { bad.push("table without caption"); }
}
for (const image of document.querySelectorAll("img")) {
  if (!image.alt.trim()) { bad.push("image without text"); }
}
for (const field of document.querySelectorAll("select, input")) {
  if (field.labels.length === 0) { bad.push("field without label"); }
}
for (const node of document.querySelectorAll(".table, .scroll, pre")) {
  if (node.scrollWidth > node.clientWidth + 1 && node.tabIndex < 0) {
    bad.push("cannot be scrolled by keyboard");
  }
}
const ids = Array.from(document.querySelectorAll("[id]")).map(n => n.id);
bad.push(...ids.filter((id, i) => ids.indexOf(id) !== i));
return bad;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_for_everybody(page, window, scheme):
    """Outline, captions, alternative texts, labels, keyboard and contrast, light and dark."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    window.call("Emulation.setEmulatedMedia", features=[feature])
    window.open(page)
    window.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    back = window.run("return getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 25, 29)"}[scheme]
    assert window.run(OUTLINE) == []
    assert window.run(CONTRAST) == []
    assert window.console() == []
    window.call("Emulation.setEmulatedMedia", features=[])


def test_first_screen_holds_claims_beside_their_picture(page, window):
    window.open(page)
    boxes = "return Array.from(document.querySelectorAll('.claims, .first figure'))"
    boxes += ".map(n => n.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    claims, picture = window.run(boxes)
    if window.run("return window.innerWidth") > 800:
        assert claims[2] <= picture[0], "side by side"
        assert max(claims[3], picture[3]) <= 900
    else:
        assert claims[3] <= picture[1] + 1, "one below the other"


def test_page_is_small_and_says_where_it_comes_from(page):
    assert page.stat().st_size < 1_500_000
    text = page.read_text()
    assert "Generated questions, scored like MT-Bench; judge: rule" in text
    for word in ("commit", "date of this page", "installed packages", "data.world.seed"):
        assert word in text
    assert "tiny_solar never teaches multi: these targets hold nothing of that model." in text


A4_LANDSCAPE = (1047, 718)  # pixels within the margins of the page's own print style


def test_a_table_as_long_as_the_demos_prints_on_one_page(window, tmp_path):
    columns = ["Model", *("Writ Role Reas Math Code Extr STEM Hum Avg".split())]
    columns += ["95% interval", "vs CLM", "NLL/token", "NLL/byte"]
    row = ["Target Mixtral, weight 0.1", *["5.55"] * 9, "4.76 to 5.60", "+10.16%", "0.711", "0.280"]
    groups = {"Source": [row] * 3, "Target": [row] * 10, "Fused": [row] * 15}
    body = html_table(Table("Table 1", columns, groups))
    path = tmp_path / "page.html"
    path.write_text(document("long", "", [Section("results", "Results", body)]))
    width, height = A4_LANDSCAPE
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    window.call("Emulation.setDeviceMetricsOverride", **size)
    window.call("Emulation.setEmulatedMedia", media="print")
    window.open(path)
    rules = "const s = getComputedStyle(document.querySelector('.table'));"
    assert window.run(f"{rules} return [s.breakInside, s.overflow]") == ["avoid", "visible"]
    box = "const b = document.querySelector('.table').getBoundingClientRect();"
    table_width, table_height = window.run(
        f"{box} return [document.querySelector('table').offsetWidth, b.height]"
    )
    assert table_width <= width
    assert table_height <= height
    window.call("Emulation.setEmulatedMedia", media="")


def test_a_table_of_claims_is_seen_whole_on_a_desktop(window, tmp_path):
    """Or the verdicts on one measure are out of sight, and the others seem to be all."""
    columns = ["Claim of the paper", "ours"]
    columns += ["rating", "95% interval", "verdict", "NLL/byte", "95% interval", "verdict"]
    row = ["Merging fused targets gives more than averaging two plain trainings"]
    row += ["VaRM, weight 0.1 − Target Mixtral, weight 0.1"]
    row += ["+0.05", "−0.03 to +0.12", "not resolvable"]
    row += ["−0.0041", "−0.0055 to −0.0028", "not resolvable"]
    body = html_table(Table("Claims and controls", columns, {"": [row] * 12}, left=2))
    path = tmp_path / "page.html"
    path.write_text(document("wide", "", [Section("results", "Results", body)]))
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    window.call("Emulation.setDeviceMetricsOverride", **size)
    window.open(path)
    widths = "const t = document.querySelector('.table'); return [t.scrollWidth, t.clientWidth]"
    needed, given = window.run(widths)
    assert needed <= given


@pytest.mark.parametrize(
    ("name", "heading"),
    [("nll", "Held-out likelihood"), ("cross_entropy", "Cross entropy"), ("scores", "Scores")],
)
def test_headings_are_words(tmp_path, name, heading):
    path = tmp_path / f"{name}.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"></svg>')
    assert figures([path], tmp_path, tmp_path).startswith(f"<h3>{heading}</h3>")


def test_browser_filters_dialogues(page, window):
    window.open(page)
    categories, models, shown = window.run(VISIBLE)
    assert len(categories) == 16
    assert set(models) == set(SHOWN)
    assert shown == "16 of 16 questions"
    window.run(choose("category", "math"))
    window.run(choose("model", "varm"))
    assert window.run(VISIBLE) == [["math"] * 2, ["varm"] * 4, "2 of 16 questions"]
    window.run(choose("category", ""))
    window.run(choose("model", ""))
    assert window.run(VISIBLE)[2] == "16 of 16 questions"


def test_page_is_whole_without_scripts(page, window):
    window.disable_scripts()
    window.open(page)
    text = window.text()
    assert "Table 1: MT-Bench scores" in text
    assert "clm says <i>one</i>" in text
    assert "of 16 questions" not in text
