"""How good keypoints are: PCK, and COCO's AP where areas are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, NothingToRateError
from fbnetv5.base.types import Target, TargetDict
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.gather import gather_images
from fbnetv5.metrics.keypoint_ap import FoundPerson, keypoint_ap, sigmas_of
from fbnetv5.metrics.keypoint_truth import Place, person_of, read_keypoint_truth
from fbnetv5.metrics.pck import pck


class KeypointMetrics(Evaluator):
    """PCK and ``PCK/<keypoint>`` of three kinds, as ``metrics.pck`` says, and COCO's ten numbers of OKS.

    What the truth does not define is left out: PCKh without head sizes, AP where a person has no area.

    Args:
        target: of kind KEYPOINTS.
        classes: the names of the keypoints.
        coco_json: the split's own file; what it says of the evaluated images is then the truth, with areas and head
            sizes. Without it the targets are, and a person's box and area are those around the labelled keypoints.

    Raises:
        InputError: the file is malformed.
    """

    main_metric = "PCK@0.2"

    def __init__(self, target: Target, classes: Sequence[str], coco_json: Path | None = None) -> None:
        super().__init__(target, classes)
        self._file = read_keypoint_truth(coco_json, classes) if coco_json else None
        self._people: list[FoundPerson] = []

    def add(self, prediction: Tensor, target: TargetDict, name: str) -> None:
        if prediction.shape != (len(self.classes), 3):
            expected, found = [len(self.classes), 3], list(prediction.shape)
            raise ValueError(f"image '{name}': keypoints {expected} are needed, not a tensor {found}")
        truth = person_of(target[self.target.name].double().cpu().numpy())
        points = prediction.double().cpu().numpy()
        self._people.append(FoundPerson(name, points, truth, Place(name, (0.0, 0.0))))

    def compute(self, world: World) -> dict[str, float]:
        people = gather_images(world, self._people, self.target)
        people = self._with_truth(people)
        values = pck([person.points for person in people], [person.truth for person in people], self.classes)
        if self.main_metric not in values:
            raise NothingToRateError(
                f"nothing to evaluate: no person in {len(people)} images has a size, so there is no PCK"
            )
        overall = {name: value for name, value in values.items() if "/" not in name}
        sized = [person for person in people if person.truth.area != 0]  # of points on a line, OKS knows no scale
        if sized and all(person.truth.area is not None for person in sized):
            overall |= keypoint_ap(sized, sigmas_of(self.classes))
        return overall | {"num_images": float(len(people))} | values

    def _with_truth(self, people: list[FoundPerson]) -> list[FoundPerson]:
        """Give people the boxes, areas, head sizes and places of the file, where there is one."""
        if self._file is None:
            return people
        folder = self._file.prefix([person.name for person in people])
        for person in people:
            if not person.name.startswith(folder) or person.name[len(folder) :] not in self._file.people:
                raise InputError(f"{self._file.path}: has no person for image '{person.name}', which was evaluated")
        listed = [person.name[len(folder) :] for person in people]
        return [
            person._replace(truth=self._file.people[name], place=self._file.places[name])
            for person, name in zip(people, listed, strict=True)
        ]
