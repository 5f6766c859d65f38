"""Each kind of file has one reader, and what it cannot read is one line with the file's name."""

import ast
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionchat.errors import UserError
from fusionchat.files import read_json, read_json_object, read_jsonl, read_text
from fusionchat.readers.csv import read_csv
from fusionchat.readers.parquet import check_disjoint, open_parquet, read_metadata, read_table
from fusionchat.readers.safetensors import read_header
from fusionchat.readers.yaml import read_yaml
from fusionchat.schema import SCHEMA, schema

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


def test_the_schema_is_sound():
    assert read_yaml(SCHEMA) == schema()


def test_yaml_with_anchors_and_merges_is_read_as_pyyaml_does(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("base: &b {a: 1, c: 1e-5}\nother: {<<: *b, a: 2}\n")
    assert read_yaml(path)["other"] == {"a": 2, "c": "1e-5"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there already, in line 1"),
        (b"a: {b: 1, b: 2}\n", "line 1: the key 'b' is there already"),
        (b"a:\n\tb: 1\n", "line 2: .*spaces, not tabs"),
        (b"a: 1\nb: \xe9\n", "line 2, is not text in UTF-8"),
        (b"", "is empty; it must have keys"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", "holds a list"),
        (b"text\n", "holds a str"),
        (b"a: [1, 2\nb: 3\n", "line 2: "),
        (b"a: 1\nyes: 2\n", "line 2: the key 'yes' is no text"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: !!python/object:os.system {}\n", "line 1: could not determine a constructor"),
        (b"a: *b\n", "line 1: found undefined alias"),
        (b"a: 1\n---\nb: 1\n", "line 2: "),
        (b"[" * 5000, "c.yaml"),
    ],
)
def test_faulty_yaml_is_one_line_with_file_and_line_number(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "line 1, is not text in UTF-8"),
        (b'{"a":\n "\xe9"}', "line 2, is not text in UTF-8"),
        (b'{"a": "\\ud83d"}', "half a surrogate pair"),
        (b"[" * 100_000, "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b"[1]", "is not a JSON object"),
    ],
)
def test_faulty_json_is_named(tmp_path, content, message):
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_json_object(path)
    assert str(path) in str(error.value)


def test_whole_surrogate_pairs_are_text(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(r'["\ud83d\ude00", "C:\\ud"]')
    assert read_json(path) == ["😀", "C:\\ud"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n[2]\n', "line 2, is not a JSON object"),
        (b'{"a": 1}\n\n{"a": \n', "line 3, is not valid JSON"),
        (b'{"a": 1}\n{"a": "\\udc00"}\n', "line 2, .*half a surrogate pair"),
        (b'{"a": 1}\n{"a": "\xe9"}\n', "line 2, is not text in UTF-8"),
    ],
)
def test_faulty_json_lines_are_named(tmp_path, content, message):
    path = tmp_path / "c.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_jsonl(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "marked"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_text(path) == '{"a": 1}'
    assert read_json(path) == read_yaml(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a test: it has no rows"),
        (b"x,y\n", "is not a test: it has no rows"),
        (b"a,b\n1,2\n", "is not a test: it has no column 'x'"),
        (b"x,y\n1,two\n", "is not a test: could not convert"),
        (b"x,y,x\n1,2,3\n", "has two columns 'x'"),
        (b"x,y\n1\n", "is not a test: float"),
        (b"x,y\n1,\xe9\n", "line 2, is not text in UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no column 'x'"),
    ],
)
def test_faulty_csv_is_named(tmp_path, content, message):
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"c.csv.*{message}"):
        read_csv(path, lambda row: (float(row["x"]), float(row["y"])), "a test")


def test_shards_with_a_dialogue_in_common_are_named(tmp_path):
    shards = {"a": ["1", "2", None], "b": ["3", None], "copy": ["4", "2"]}
    for name, ids in shards.items():
        pq.write_table(pa.table({"dialogue_id": ids}), tmp_path / name)
    check_disjoint([tmp_path / "a", tmp_path / "b"])  # rows without a name are no dialogues
    with pytest.raises(UserError, match=r"copy: dialogue 2 is in .*/a too; give each shard once"):
        check_disjoint([tmp_path / name for name in shards])


def test_parquet_of_another_kind_is_named_with_its_maker(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ["1"]}), path)
    with pytest.raises(UserError, match=r"x.parquet has no column b; make it with judge"):
        read_table(path, ["a", "b"], "judge")
    with pytest.raises(UserError, match="column a is string, not int64; make it with judge"):
        open_parquet(path, pa.schema([("a", pa.int64())]), "judge")
    with pytest.raises(UserError, match="not made by judge"):
        read_metadata(path, open_parquet(path).schema_arrow, b"facts", "judge")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"x.parquet is damaged"):
        read_table(path)
    with pytest.raises(UserError, match="does not exist; make it with judge"):
        read_table(tmp_path / "none", maker="judge")
    with pytest.raises(UserError, match="is damaged"):
        read_table(tmp_path)


def header(entries: dict, data: int = 8) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def entry(begin: int, end: int, dtype: str = "F32", **other) -> dict:
    return {"dtype": dtype, "shape": [(end - begin) // 4], "data_offsets": [begin, end]} | other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"", "not a safetensors file, or it is cut off"),
        (b"PK\x03\x04" + bytes(100), "not a safetensors file"),
        ((4).to_bytes(8, "little") + b"[12]", "no JSON object"),
        ((4).to_bytes(8, "little") + b"{ba}", "broken header"),
        (header({"a": entry(0, 8)}, 4), "bytes where its header needs"),
        (header({"a": entry(0, 8)}, 12), "bytes where its header needs"),
        (header({"a": entry(0, 8), "b": entry(4, 8)}), "b overlaps the one before"),
        (header({"a": entry(4, 8)}), "a leaves a gap"),
        (header({"a": entry(0, 8, "F4")}), "unsupported type F4"),
        (header({"a": entry(0, 8, shape=[3])}), "8 bytes, its shape 12"),
        (header({"a": entry(0, 8, shape=[-2])}), "entry of a is broken"),
        (header({"a": {"dtype": "F32"}}), "entry of a is broken"),
        (header({"a": [1]}), "entry of a is broken"),
    ],
)
def test_faulty_safetensors_are_named(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_header(path)
    assert str(path) in str(error.value)


READS = {"read", "read_text", "read_bytes", "open"}
LIBRARIES = {
    ("yaml", "safe_load"), ("yaml", "load"), ("pq", "ParquetFile"), ("pq", "read_table"),
    ("pq", "read_schema"), ("pq", "read_metadata"), ("pd", "read_parquet"), ("json", "load"),
    ("safetensors", "safe_open"), ("csv", "reader"), ("csv", "DictReader"),
    ("Tokenizer", "from_file"),
}  # fmt: skip


def direct_reads(path: Path) -> list[str]:
    """Calls of a module that open a JSON, YAML, CSV, Parquet, safetensors or tokenizer file by
    themselves.
    """
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        parts = tuple(name.rsplit(".", 1))
        inner = (n.func.attr for a in node.args for n in ast.walk(a)
                 if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute))  # fmt: skip
        if (
            parts in LIBRARIES
            or name in ("safe_open", "load_file")
            or (name.endswith(".from_pretrained") and path.parent.name != "models")
        ):
            found.append(f"{path.name}: {name}")
        elif name == "json.loads" and READS & set(inner):
            found.append(f"{path.name}: json.loads of a file")
    return found


def test_programs_and_library_read_files_through_the_readers_alone():
    readers = {SCRIPTS / "fusionchat" / "files.py", *SCRIPTS.glob("fusionchat/readers/*.py")}
    others = [path for path in SCRIPTS.rglob("*.py") if path not in readers]
    assert [fault for path in others for fault in direct_reads(path)] == []
