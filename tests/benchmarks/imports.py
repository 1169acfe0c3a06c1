"""Cold starts of what is packaged, beside an app of Chalice, boto3 and pydantic out of the same package.

CPU time of a process of its own for each start; boto3, which does not ship, is copied beside it.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from infra.packaging import measure, package, stages
from infra.packaging.measure import ColdStart
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes

USUAL = "Chalice + boto3 + pydantic"
API = "APIHandler"
GOAL_RATIO = 1.3
_USUAL = """
import boto3
from chalice import Chalice
from pydantic import BaseModel
class Body(BaseModel):
    name: str
    size: int = 1
app = Chalice(app_name="usual")
@app.route("/", methods=["POST"])
def create(): return Body(**app.current_request.json_body).model_dump()
"""
_CLIENT = "import boto3\nboto3.client('dynamodb')\n"
_BESIDE = ("boto3", "s3transfer")


def cold(sizes: Sizes) -> Sequence[Result]:
    """The functions and the two apps in turns."""
    with tempfile.TemporaryDirectory() as folder:
        tree, beside = Path(folder, "tree"), Path(folder, "beside")
        built = package.build(stages.read("dev"), Path(folder, "out"), measured=False)
        with zipfile.ZipFile(built.zip) as archive:
            archive.extractall(tree)
        usual = _usual_app(beside)
        works: dict[str, Callable[[], ColdStart]] = {
            USUAL: lambda: measure.start(USUAL, usual, [beside, tree], more=["client"])
        }
        for function, handler in sorted(package.handlers(built.template).items()):
            works[function] = lambda f=function, h=handler: measure.start_function(tree, f, h)  # type: ignore[misc]
        runs = [{name: work() for name, work in works.items()} for _ in range(sizes.imports + 1)]
    # The first round filled the disk's cache.
    return _results({name: measure.middle([run[name] for run in runs[1:]]) for name in works})


def _usual_app(folder: Path) -> str:
    folder.mkdir()
    for name in _BESIDE:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        shutil.copytree(Path(found.origin).parent, folder / name)
    (folder / "client.py").write_text(_CLIENT)
    return measure.app(folder, "usual", _USUAL)


def _results(starts: Mapping[str, ColdStart]) -> Sequence[Result]:
    usual = starts[USUAL]
    return [_result(each, usual) for each in starts.values() if each is not usual]


def _result(each: ColdStart, usual: ColdStart) -> Result:
    ratio = each.imported / usual.imported
    goal, limit = (f"≤ {GOAL_RATIO:g}", GOAL_RATIO) if each.function == API else ("", float("inf"))
    return Result(
        what=f"cold import of {each.function}, CPU",
        figure=f"{each.imported:.0f} ms",
        raw=f"{usual.imported:.0f} ms, {USUAL}",
        ratio=ratio,
        goal=", ".join(filter(None, [goal, "no kubernetes"])),
        met=ratio <= limit and not each.loads_kubernetes,
        notes=[
            f"with what its first call builds {each.ready:.0f} ms; beside a boto3 client {usual.ready:.0f} ms"
        ],
    )
