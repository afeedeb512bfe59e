"""What the configs of an init read."""

from __future__ import annotations

from pathlib import Path

from fbnetv5.base.types import Sample, Source
from fbnetv5.config.read import load_config
from fbnetv5.data.sources import build_source, build_val_source


class Read:
    """What the configs that were written read."""

    def __init__(self, output: Path) -> None:
        self.output = output
        configs = {file.stem: load_config(file) for file in sorted(output.parent.glob("*.yaml"))}
        self.search = configs.pop("my")
        self.tasks = {name.removeprefix("my_"): config for name, config in configs.items()}
        for config in self.tasks.values():
            assert build_val_source(config.data, build_source(config.data).classes) is not None
        config = next(iter(self.tasks.values()))
        config.data.train = self.search.data.train
        self.train: Source = build_source(self.search.data)
        self.val = self._val()

    def _val(self) -> Source:
        data = self.search.data
        for config in self.tasks.values():
            for key, value in vars(config.data.val).items():
                if value is not None:
                    setattr(data.val, key, value)
        source = build_val_source(data, self.train.classes)
        assert source is not None
        return source

    def samples(self) -> dict[str, Sample]:
        """All images of both splits, by the last part of their name."""
        loaded = [source.load(row) for source in (self.train, self.val) for row in range(len(source))]
        return {sample.name.rsplit("/", 1)[-1]: sample for sample in loaded}


def boxes_of(sample: Sample) -> list[tuple[float, ...]]:
    return [tuple(box) for box in sample.target["boxes"].tolist()]
