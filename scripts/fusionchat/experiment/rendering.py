"""How each model of a run reads dialogues and is asked: its chat format and end of turn."""

from dataclasses import dataclass
from pathlib import Path

from fusionchat.experiment.models import Models
from fusionchat.schema import Config

TOKENIZER = "tokenizer"  # the template that stands for a tokenizer's own


@dataclass(frozen=True)
class Rendering(Models):
    """The options of rendering, and the files that they depend on."""

    def rendering(self, name: str) -> Config:
        """How a model reads dialogues: in the run's chat format, with its own end of turn.

        With `template: tokenizer` that is the pivot's chat template for every model, since
        distributions are aligned on the same text.
        """
        settings = self._rendering(self.config, name)
        if settings["template"] == TOKENIZER and name != self.pivot:
            settings["template_model"] = str(Path(self.manifest(self.pivot)).parent)
        return settings

    def answer_rendering(self, name: str) -> Config:
        """How a model is asked: in its own chat format where it names one, else in the run's."""
        model = self.models.get(name, {})
        chosen = model if "template" in model else self.config | model
        return self._rendering(chosen, name)

    def _rendering(self, chosen: Config, name: str) -> Config:
        """A chat format, with the end of turn of the model whose tokenizer `name` has."""
        owner = name if name in self.models else self.pivot
        run_end = self.config.get("end_of_turn") if owner == self.pivot else None
        settings = {
            "template": chosen["template"],
            "system_message": chosen.get("system_message"),
            "end_of_turn": self.models[owner].get("end_of_turn", run_end),
            "special_text": self.config["special_text"],
        }
        return {key: value for key, value in settings.items() if value is not None}

    def rendering_files(self, settings: Config) -> list[str]:
        """What a chat format depends on: a Jinja file, or the model whose template it is."""
        if "template_model" in settings:
            return [f"{settings['template_model']}/manifest.json"]
        return [settings["template"]] if settings["template"].endswith(".jinja") else []

    def step_options(self, name: str) -> Config:
        """The pivot's folder, where a model's dump stores exact steps for its tokenizer."""
        wanted = self.config["logits"]["exact_steps"] and name in self.sources
        return {"exact_steps_for": str(Path(self.manifest(self.pivot)).parent)} if wanted else {}

    def step_files(self, name: str) -> list[str]:
        """What the exact steps of a dump depend on."""
        return [f"{folder}/manifest.json" for folder in self.step_options(name).values()]
