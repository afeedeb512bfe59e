"""Models on Hugging Face's hub: what is uploaded is a model's folder, with a card and without what the run kept."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.paths import HUB, hugging_face
from fbnetv5.base.run_files import FINAL_METRICS
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.model.card import CARD, card, is_ours
from fbnetv5.model.exports import EXPORTS, files_of
from fbnetv5.model.folder import save_model
from fbnetv5.model.joint_net import JointModel
from fbnetv5.model.task_net import TaskNet

NAME = re.compile(r"[\w.-]+/[\w.-]+")
LOADS = re.compile(r'fbnetv5\.load\("[^"]*"\)')
LICENSE = re.compile(r"license(_name|_link)?\s*:")


def save_to_hub(
    model: TaskNet | JointModel, name: str, *, license: str | None = None, private: bool = False, exports: bool = False
) -> str:
    """Upload a model: model.safetensors, config.json and its card, as a new version of a repository.

    The card is written anew, unless you have made the one in the model's folder yours; then ``license`` alone changes.

    Args:
        model: as :func:`fbnetv5.load` or a training gives it.
        name: of the repository, ``owner/name``; it is made if need be.
        license: of the model, such as apache-2.0; by default that of the weights it started from, if that is known.
        private: make a new repository private.
        exports: upload the files too that were exported to ``export/`` of the model's folder.

    Returns:
        what ``fbnetv5.load`` takes: ``hf://owner/name``.

    Raises:
        InputError: huggingface_hub is not installed, or the hub refuses the model.
    """
    if NAME.fullmatch(name) is None:
        raise InputError(f"save_to_hub: {name} is no name on the hub; it is owner/name")
    hub, uri = hugging_face("save_to_hub"), f"{HUB}{name}"
    files = _exported(model.folder) if exports else []
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary)
        save_model(staged, model, model.spec)
        kept = _kept_card(model.folder, uri)
        if kept and license:
            kept = _licensed(kept, license)
        write_text(staged / CARD, kept or card(model, model.folder, place=uri, license=license))
        try:
            api = hub.HfApi()
            api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=str(staged), commit_message="Upload a model of fbnetv5")
            if exports:
                api.upload_folder(
                    repo_id=name,
                    folder_path=str(Path(str(model.folder)) / EXPORTS),
                    path_in_repo=EXPORTS,
                    allow_patterns=files,
                    commit_message="Upload its exported files",
                )
        except Exception as error:  # the hub has errors of many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise InputError(f"save_to_hub: the hub refuses {name}: {reason}; `hf auth login` logs in") from error
    return uri


def _exported(folder: Path | None) -> list[str]:
    """Return the names of a folder's exported files and their sidecars; raises InputError where some are not there."""
    exported = Path() if folder is None else folder / EXPORTS
    listed = None if folder is None else files_of(exported, folder / WEIGHTS)
    if listed == []:
        raise InputError(f"save_to_hub: what is exported to {exported} is of other weights; export again")
    if listed is None and folder is not None:
        listed = [path.stem for path in exported.glob("model_*.json")]
    if not listed:
        place = "a folder of the model" if folder is None else exported
        raise InputError(f"save_to_hub: nothing is exported to {place}; leave out exports")
    names = sorted({*listed, *(f"{name}.json" for name in listed)})
    if missing := [name for name in names if not (exported / name).is_file()]:
        raise InputError(f"save_to_hub: {exported} has no {missing[0]}; export again, or leave out exports")
    return names


def _kept_card(folder: Path | None, uri: str) -> str | None:
    """Return the card that a person wrote, or that says more than the folder can, as one from the hub does; or None.

    Where the program wrote it, it names the new place.
    """
    if folder is None or (is_ours(folder) and (folder / FINAL_METRICS).is_file()) or not (folder / CARD).is_file():
        return None
    text = (folder / CARD).read_text(encoding="utf-8")
    if not is_ours(folder):
        return text
    text = re.sub(r"^# .*$", lambda _: f"# {uri.rpartition('/')[2]}", text, count=1, flags=re.MULTILINE)
    return LOADS.sub(lambda _: f'fbnetv5.load("{uri}")', text)


def _licensed(text: str, license: str) -> str:
    """Return a card with another license in its front matter; all else stays."""
    front, body = ["---", "---"], text
    lines = text.splitlines()
    if lines[:1] == ["---"] and "---" in lines[1:]:
        end = lines.index("---", 1)
        front, body = lines[: end + 1], "\n".join(lines[end + 1 :]) + "\n"
    kept, own = [], False
    for line in front[1:-1]:
        if not line.startswith((" ", "-")):  # what is indented, or in a list, belongs to the key above
            own = LICENSE.match(line) is not None
        kept += [] if own else [line]
    return "\n".join(["---", f"license: {license}", *kept, "---", body])
