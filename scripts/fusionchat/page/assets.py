"""The page's style sheet and its one script, a filter of the example dialogues.

They are code rather than data files so that a change of them makes the page anew.
"""

STYLE = """
:root { --ink: #1c2329; --soft: #4f5b66; --line: #d5dbe0; --back: #ffffff; --tint: #f3f6f8;
  --link: #0b4f8a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebef; --soft: #a9b5c0; --line: #3a4650; --back: #14191d; --tint: #1f272d;
    --link: #8cc4ea; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 72rem; padding: 0 1rem 4rem; color: var(--ink);
  background: var(--back); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
h1 { margin: 1.5rem 0 0; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 2px solid var(--line);
  font-size: 1.3rem; }
h3 { margin: 1.5rem 0 .25rem; font-size: 1.05rem; }
.answer h3 { margin: 0 0 .25rem; font-size: .9rem; display: flex; gap: .5rem;
  justify-content: space-between; }
.first { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 0 1.5rem;
  align-items: start; }
.first figure { margin: .25rem 0 0; }
.first figcaption { font-size: .8rem; }
.claims { margin: .25rem 0; padding-left: 1.2rem; font-size: .92rem; }
.claims li { margin: .25rem 0; line-height: 1.35; }
.claims b { font-weight: 600; display: block; }
.verdict { display: inline-block; margin-left: .5rem; padding: 0 .35rem; font-size: .9em;
  border-radius: .2rem; background: var(--tint); }
header p { margin: .25rem 0 1rem; color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .9rem; }
a { color: var(--link); }
nav a { padding: .25rem 0; }
.lead { max-width: 62rem; margin: .5rem 0; font-size: 1.05rem; }
#question h2 { margin-top: .75rem; }
.findings { max-width: 44rem; padding-left: 1.2rem; }
.findings li { margin: .4rem 0; }
.table, .scroll { overflow-x: auto; }
/* A shadow at the right edge, which moves away with what it stands for: there is more to see. */
.table { margin: 1rem 0 .25rem;
  background: no-repeat right / 3rem 100% local
      linear-gradient(to left, var(--back) 50%, transparent),
    no-repeat right / .5rem 100% scroll linear-gradient(to left, var(--soft), transparent); }
table { border-collapse: separate; border-spacing: 0; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
caption { padding: .25rem 0; text-align: left; font-weight: 600; font-size: .95rem; }
caption span { display: inline-block; position: sticky; left: 0;
  max-width: calc(100vw - 2rem); }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td.text { text-align: left; }
tbody th, td.text { white-space: normal; min-width: 7rem; }
thead th { border-bottom: 2px solid var(--ink); border-top: 2px solid var(--ink); }
thead th.text { text-align: left; }
tbody th, tbody td { border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 2px solid var(--ink); }
tbody th { font-weight: 400; }
tr.group th { padding-top: .6rem; font-style: italic; color: var(--soft); }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--back); }
.note { max-width: 50rem; margin: .25rem 0; color: var(--soft); font-size: .85rem; }
code { font-size: .85em; }
pre { overflow-x: auto; padding: .75rem; background: var(--tint); font-size: .8rem;
  line-height: 1.4; }
figure { margin: 1.5rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: .2rem; }
figure.wide .scroll { max-width: 56rem; }
figure.narrow .scroll { max-width: 30rem; }
figcaption { max-width: 50rem; margin-top: .4rem; color: var(--soft); font-size: .9rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; padding: .3rem 0; }
.example { border: 1px solid var(--line); border-radius: .4rem; padding: .25rem .75rem; }
.user { margin: .5rem 0; padding: .5rem .75rem; background: var(--tint);
  border-left: .25rem solid var(--soft); white-space: pre-wrap; }
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr));
  gap: .6rem; margin-bottom: 1rem; }
.answer { border: 1px solid var(--line); border-radius: .3rem; padding: .5rem .6rem;
  font-size: .9rem; min-width: 0; }
.answer p { margin: .2rem 0; white-space: pre-wrap; }
.answer summary { color: var(--soft); font-size: .8rem; }
.answer details { margin: .2rem 0 0; }
#filter { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center;
  padding: .5rem 0; }
#filter[hidden], [hidden] { display: none; }
select { font: inherit; padding: .3rem; max-width: 100%; border: 1px solid var(--soft);
  border-radius: .25rem; background: var(--back); color: var(--ink); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
@media (max-width: 40rem) {
  body { padding: 0 .75rem 3rem; }
  .first { display: block; }
  .verdict { margin: 0 .5rem 0 0; }
  h1 { margin-top: .75rem; font-size: 1.4rem; }
  figure.wide figcaption::before { content: "Scroll sideways. "; }
  figure.wide img { width: 42rem; max-width: none; }
  tbody th, thead th:first-child { max-width: 9.5rem; }
  tr.group th { max-width: none; }
}
@media print {
  @page { size: A4 landscape; margin: 10mm; }
  :root { --ink: #000; --soft: #333; --line: #bbb; --back: #fff; --tint: #fff; --link: #000; }
  body { max-width: none; padding: 0; font-size: 9pt; }
  nav, #filter { display: none; }
  .table, .scroll { overflow: visible; background: none; }
  table { font-size: 7pt; }
  th, td { padding: .1rem .3rem; }
  .table, figure, .answer, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .claims, .findings { padding-left: 2.2em; }
  figure img { width: auto; max-width: 100%; max-height: 135mm; }
  tbody th, thead th:first-child { position: static; }
  tbody th, td.text { min-width: 0; }
}
"""

SCRIPT = """
(function () {
  const form = document.getElementById("filter");
  if (!form) { return; }
  const category = document.getElementById("category");
  const model = document.getElementById("model");
  const examples = Array.from(document.querySelectorAll(".example"));
  function apply() {
    let shown = 0;
    for (const example of examples) {
      example.hidden = category.value !== "" && example.dataset.category !== category.value;
      shown += example.hidden ? 0 : 1;
      for (const answer of example.querySelectorAll(".answer")) {
        answer.hidden = model.value !== "" && answer.dataset.model !== model.value;
      }
    }
    document.getElementById("shown").value =
      shown + " of " + examples.length + " questions";
  }
  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  category.addEventListener("change", apply);
  model.addEventListener("change", apply);
  apply();
})();
"""
