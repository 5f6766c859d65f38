"""The four programs of the alignment stage on small files."""

from alignment_cases import TEXTS, model_folder, store

import align_tokens
import map_vocabulary
import report_alignment
import transfer_logits

DIALOGUES = [[TEXTS[i % 5], TEXTS[(3 * i + 1) % 5]] for i in range(9)]


class Stage:
    """Runs the programs on the shards of one pivot and one source."""

    def __init__(self, root, pivot="A", source="B", change=None):
        self.root = root
        self.pivot = model_folder(root / "pivot", pivot)
        self.source = model_folder(root / "source", source, change)
        self.models = ["--pivot-model", str(self.pivot), "--source-model", str(self.source)]

    def stores(self, name, dialogues):
        pivot = store(self.root / f"p{name}", self.pivot, dialogues)
        return ["--pivot-logits", str(pivot)], [
            "--source-logits",
            str(store(self.root / f"s{name}", self.source, dialogues)),
        ]

    def align(self, stores, name, method="spans"):
        path = self.root / f"spans{name}"
        align_tokens.main(
            [*stores[0], *stores[1], *self.models, "--method", method, "--output", str(path)]
        )
        return path

    def map(self, paths, strategy="statistics"):
        path = self.root / "vocabulary"
        options = [*self.models, "--strategy", strategy, "--output", str(path)]
        map_vocabulary.main(["--spans", *map(str, paths), *options])
        return path

    def transfer(self, stores, spans, vocabulary, name, rules="mass"):
        path = self.root / f"aligned{name}"
        files = ["--spans", str(spans), "--vocabulary", str(vocabulary)]
        options = [*self.models, "--rules", rules, "--output", str(path)]
        transfer_logits.main([*stores[0], *stores[1], *files, *options])
        return path

    def all(self, dialogues=DIALOGUES, **options):
        stores = self.stores("", dialogues)
        spans = self.align(stores, "", options.get("method", "spans"))
        vocabulary = self.map([spans], options.get("strategy", "statistics"))
        aligned = self.transfer(stores, spans, vocabulary, "", options.get("rules", "mass"))
        return stores, spans, vocabulary, aligned

    def report(self, made, *options):
        stores, spans, vocabulary, aligned = made
        files = ["--aligned", str(aligned), "--spans", str(spans), "--vocabulary", str(vocabulary)]
        output = self.root / "report.md"
        report_alignment.main(
            [*files, *stores[0], *stores[1], *self.models, "--output", str(output), *options]
        )
        return output.read_text(encoding="utf-8")
