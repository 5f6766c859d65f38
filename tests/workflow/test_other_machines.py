"""The whole workflow where a laptop differs from the machines that it is developed on."""

import json
import subprocess
import sys

from micro_project import ELSEWHERE, ODD

LOOK = """
import json, os
def works(function, path):
    try:
        function(path)
    except OSError:
        return False
    return True
print(json.dumps({
    "/proc": works(open, "/proc/self/stat"),
    "home": works(os.makedirs, os.path.expanduser("~/x")),
    "Linux": hasattr(os, "posix_fallocate"),
}))
"""


def test_what_the_run_was_made_with_lacks_what_a_laptop_may_lack(finished):
    said = subprocess.run(
        [sys.executable, "-c", LOOK],
        env=finished.environment() | ELSEWHERE,
        check=True,
        capture_output=True,
    ).stdout
    assert json.loads(said) == {"/proc": False, "home": False, "Linux": False}


def test_without_linux_in_an_odd_path_without_a_home_in_the_c_locale(finished):
    """The run that all other tests look at was made so, to its end."""
    assert finished.folder.name == ODD
    assert (finished.results / "report.html").stat().st_size > 100_000
    assert (finished.results / "merged" / "varm" / "model.safetensors").is_file()
