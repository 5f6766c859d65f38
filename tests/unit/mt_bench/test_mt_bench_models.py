"""What a local model is asked and where it stops: templates, stop tokens, its own code."""

import json

import pytest
from mt_bench_models import EOS, checkpoint
from mt_bench_models import tokenizer as make_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM

from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import make_renderer
from fusionchat.errors import UserError
from fusionchat.mt_bench.answering.dialogue_engine import AnswerOptions
from fusionchat.mt_bench.answering.local_engine import LocalEngine
from fusionchat.mt_bench.answers import clean_answer


def renderer(tokenizer, template="openchat_3.5", **options):
    return make_renderer(tokenizer, RenderingOptions(template), training=False, **options)


def test_templates_end_turns_with_the_tokenizers_own_token():
    tokenizer = make_tokenizer()
    vicuna = renderer(tokenizer, "vicuna_v1.1").prompt(["Hi", "Yes", "Why"]).text
    assert vicuna.endswith(f"USER: Hi ASSISTANT: Yes{EOS}USER: Why ASSISTANT:")
    kept = renderer(tokenizer, "vicuna_v1.1", keep_separators=True)
    assert "Yes</s>USER" in kept.prompt(["Hi", "Yes", "Why"]).text
    chatml = renderer(tokenizer, "OpenHermes-2.5-Mistral-7B")
    assert f"<|im_start|>user\nHi{EOS}" in chatml.prompt(["Hi"]).text
    # The ids 32000 and 32001 of that template mean nothing in another vocabulary.
    assert chatml.stop_ids == {1}


def test_the_tokenizers_own_template_can_be_used():
    tokenizer = make_tokenizer()
    with pytest.raises(UserError, match="no chat template"):
        renderer(tokenizer, "tokenizer")
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    own = renderer(tokenizer, "tokenizer")
    assert own.prompt(["a", "b", "c"]).text == "[user]a[assistant]b[user]c[assistant]"
    assert own.stop_ids == {1}


@pytest.mark.parametrize(("in_template", "in_tokenizer"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_tokenizers_own_template_gets_begin_of_text_where_the_model_expects_it(
    in_template, in_tokenizer
):
    tokenizer = make_tokenizer()
    start = "{{ bos_token }}" if in_template else ""
    tokenizer.chat_template = start + "{% for m in messages %}{{ m.content }}{% endfor %}"
    if in_tokenizer:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    ids = renderer(tokenizer, "tokenizer").prompt(["What is"]).ids
    assert ids.count(0) == max(in_template, in_tokenizer)
    assert renderer(tokenizer).prompt(["What is"]).ids.count(0) == 1


def test_answers_are_cut_at_stop_strings_and_cleaned():
    assert clean_answer(" one\n### User: two", ["###"], []) == "one"
    assert clean_answer("### first", ["###"], []) == "### first"
    assert clean_answer("a<s> b</s>", [], ["<s>", "</s>"]) == "a b"


def test_all_stop_tokens_of_the_checkpoint_are_used(tmp_path):
    folder = checkpoint(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.eos_token_id = [1, 7]
    model.save_pretrained(folder)
    engine = LocalEngine(folder, AnswerOptions(), "cpu", "float32")
    assert engine.stop_ids == {1, 7}


MODELLING_CODE = """
from transformers import MistralConfig, MistralForCausalLM

class OwnConfig(MistralConfig):
    model_type = "own"

class OwnModel(MistralForCausalLM):
    config_class = OwnConfig
"""


def test_a_checkpoints_own_code_answers_only_if_the_manifest_allows_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = checkpoint(tmp_path / "model")
    (folder / "modeling_own.py").write_text(MODELLING_CODE)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    config["auto_map"] = {
        "AutoConfig": "modeling_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnModel",
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config.json is no .* custom code"):
        LocalEngine(folder, AnswerOptions(), "cpu", "float32")
    (folder / "manifest.json").write_text('{"remote_code": true}')
    engine = LocalEngine(folder, AnswerOptions(), "cpu", "float32")
    assert type(engine.model).__name__ == "OwnModel"
