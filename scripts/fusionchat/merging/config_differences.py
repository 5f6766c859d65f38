"""Where the configs of two models of one shape differ: the same weights would compute otherwise."""

import re
from typing import Any

# What only names, stores or trains a model, and what is compared elsewhere.
_IGNORED = re.compile(
    r"_.*|architectures|auto_map|transformers_version|(torch_)?dtype|use_cache|tokenizer_class"
    r"|(bos|eos|pad|sep|cls|mask|unk)_token_id|vocab_size|model_type|.*drop(out)?.*|.*pdrop"
    r"|initializer_(range|factor)|pretraining_tp|output_.*|return_.*|use_return_dict"
    r"|gradient_checkpointing|router_.*loss.*|aux_loss_alpha|transformers_weights"
    r"|rope_(theta|scaling|parameters)|tie_word_embeddings|(use_)?sliding_window"
)
# What changes the arithmetic, and may stand in one config alone: its value in the other is then
# that of the model class.
_DEFAULTED = re.compile(
    r".*(eps|epsilon)|sliding_window|hidden_act(ivation)?|activation_function|logit_scale"
    r"|.*softcapping|.*_multiplier|query_pre_attn_scalar|partial_rotary_factor|rotary_(dim|pct)"
    r"|logits_scaling|routed_scaling_factor|scoring_func|norm_topk_prob|num_experts_per_tok"
    r"|n_group|topk_group|scale_attn\w*|alibi|parallel_attn|use_parallel_residual|clip_qkv"
    r"|position_embedding_type|do_layer_norm_before|apply_residual_connection_post_layernorm"
)


def differences(pivot: dict[str, Any], target: dict[str, Any]) -> list[str]:
    """Each key that the configs give differently, in words, rotary embeddings included."""
    pivot, target = _completed(pivot, target), _completed(target, pivot)
    lines = [
        f"{key} is {target[key]!r} where the pivot has {pivot[key]!r}"
        for key in sorted(pivot.keys() & target.keys())
        if not _IGNORED.fullmatch(key) and _differ(pivot[key], target[key])
    ]
    if "sliding_window" in pivot and "sliding_window" in target:
        windows = _window(target), _window(pivot)
        if windows[0] != windows[1]:
            lines.append("sliding_window is {} where the pivot has {}".format(*windows))
    base, other = rotary(pivot), rotary(target)
    if base[1] != other[1] or (None not in (base[0], other[0]) and base[0] != other[0]):
        lines.append(f"the rotary embedding is {_told(other)} where the pivot has {_told(base)}")
    return lines


def _completed(config: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The config with what only the other one names, as the model class has it by default."""
    lacking = {key for key in other.keys() - config.keys() if _DEFAULTED.fullmatch(key)}
    if not lacking:
        return config
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    usual = CONFIG_MAPPING[kind]().to_dict() if kind in CONFIG_MAPPING else {}
    return {key: usual[key] for key in lacking & usual.keys()} | config


def _window(config: dict[str, Any]) -> Any:
    """The width of attention; None where it is not limited."""
    return config["sliding_window"] if config.get("use_sliding_window") is not False else None


def _differ(first: Any, second: Any) -> bool:
    """Whether values differ; what one leaves open (None) is the other's."""
    if isinstance(first, dict) and isinstance(second, dict):
        return any(_differ(first[key], second[key]) for key in first.keys() & second.keys())
    return None not in (first, second) and first != second


def rotary(config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Base and scaling, whatever version of transformers wrote them: where both keys are there, a
    `rope_scaling` counts, and the base that is given with it.
    """
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        return config.get("rope_theta"), {"rope": rope}
    facts = {key: value for key, value in rope.items() if value is not None}
    theta = facts.pop("rope_theta", config.get("rope_theta"))
    kind = facts.pop("type", None)
    facts.setdefault("rope_type", kind)
    return theta, {k: v for k, v in facts.items() if (k, v) not in _UNSCALED}


_UNSCALED = (("rope_type", "default"), ("rope_type", None))


def _told(rope: tuple[Any, dict[str, Any]]) -> str:
    theta, scaling = rope
    parts = [] if theta is None else [f"theta {theta:g}"]
    parts += [f"{key} {value}" for key, value in scaling.items()]
    return ", ".join(parts) or "unscaled"
