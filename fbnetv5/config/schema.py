"""The schema of every configuration: keys, types, defaults and help texts.

A config file starts with ``defaults: [/fbnetv5/schema, _self_]`` and sets what differs. A key that is not here, or a
value of another type, is an error that names it. ``python train_net.py --help`` prints these texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from fbnetv5.base.limits import MAX_IMAGES, MAX_SHAPES, MAX_SIDE, MAX_STAGES
from fbnetv5.config.export import ExportConfig
from fbnetv5.config.label import LabelConfig
from fbnetv5.config.optimizer import OptimizerConfig
from fbnetv5.config.option import option
from fbnetv5.config.search import SearchConfig


@dataclass
class ModelConfig:
    """The network: a supernet, or with a topology and a head the final model of one task."""

    family: str = option(
        "A",
        "A_C, A_R, A, B, C, D, E, F or G, FBNetV3; NANO, for small images; these with -lite behind (ReLU6, no "
        "squeeze-excitation), -x8 (channels in multiples of 8) or both; timm/NAME, a mobile network of timm's",
    )
    num_stages: int = option(7, "stages after the trunk, of 4 blocks each", minimum=1, maximum=MAX_STAGES)
    weights: str | None = option(
        None,
        "safetensors to start from, of a supernet or a trained model, matched by name; heads may differ; in the place "
        "of trunk_weights",
    )
    trunk_weights: str | None = option(
        None,
        "where the trunk of a timm/... family, or of A, B, D or G, starts from: pretrained (an installed package's, "
        "else timm's), or a file; it says what images are normalised with",
    )
    block_start: str = option(
        "zeroed",
        "how blocks start that no weights are for: copied from the trunk's last layers; zeroed, the same, but changing "
        "nothing at first; or random; without trunk_weights, weights or joint all is random",
        choices=("copied", "zeroed", "random"),
    )
    topology: str | None = option(
        None, "train: a topology file, or linear, unet, fpn, panet or bifpn (of num_stages stages)"
    )
    network: dict[str, Any] = option(
        dict, "train: {_target_: class, its options}, a network of a project; instead of family and topology"
    )
    head: dict[str, Any] = option(dict, "train: {_target_: class, its options}, the head of the final model")
    tasks: dict[str, Any] = option(
        dict,
        "train: {name: {topology, head, weight, weights}}, one network for several tasks, in the place of topology and "
        "head; see docs/JOINT.md",
    )
    share: str = option(
        "trunk",
        "with tasks: what they have in common, the trunk, or weights of blocks of the same place as well (blocks)",
        choices=("trunk", "blocks"),
    )
    joint: str | None = option(
        None, "with tasks: folder of a finished joint network that they are added to; its tasks stay as they are"
    )


@dataclass
class FilesConfig:
    """Where one split lies. Paths are relative to data.root, URIs are not; leave out what you have no labels for."""

    index: str | None = option(None, "parquet index, below data.root; instead of the labels below")
    images: str | None = option(
        None, "folder of images, below data.root, as are the labels; of an index: what its paths of images start from"
    )
    labels: str | None = option(
        None, "csv with the columns file_name,label; or the split's images again where each class has a folder"
    )
    boxes: str | None = option(None, "COCO json")
    masks: str | None = option(None, "folder of PNG masks named like the images")
    depth_maps: str | None = option(None, "folder of 16-bit PNG depth maps named like the images, 0 = unknown")
    keypoints: str | None = option(None, "COCO json of keypoints, one person an image")


@dataclass
class ShapesConfig:
    """The procedural data set, used where data.root is null."""

    num_images: int = option(4096, "images in the training split", minimum=1, maximum=MAX_SHAPES)
    num_val_images: int = option(
        512, "images in its validation split, others than those of the training split", minimum=1, maximum=MAX_SHAPES
    )
    size: int = option(128, "side of an image in pixels", minimum=32, maximum=MAX_SIDE)
    seed: int = option(0, "seed of the scenes; runs with other seeds see the same images", minimum=0)
    world: str = option(
        "plain",
        "plain, or hard: cluttered and noisy, labels that count objects, to compare networks by",
        choices=("plain", "hard"),
    )


@dataclass
class DataConfig:
    """The images."""

    root: str | None = option(
        None, "folder of your data, from the working directory, or a URI; null: the shapes data set"
    )
    train: FilesConfig = option(FilesConfig, "the training split")
    val: FilesConfig = option(FilesConfig, "the validation split, for train and evaluate; class ids are train's")
    mask_classes: list[str] = option(list, "names of the class ids 0, 1, ... of masks")
    mask_values: dict[Any, int] = option(
        dict,
        "class id of each value that masks hold, {7: 0, 8: 1}, or of each colour, {'#804080': 0}; 255: ignored. Empty: "
        "values are class ids",
    )
    mask_ignore: list[Any] = option(list, "values or colours of masks that are ignored beside 255")
    depth_scale: float | None = option(
        None, "value in the depth maps that is one metre: 256 as KITTI has it, 1000 for millimetres"
    )
    unannotated: str = option(
        "empty", "an image of the COCO json without boxes is 'empty' or 'unlabelled'", choices=("empty", "unlabelled")
    )
    exif: str = option(
        "auto",
        "EXIF orientation of your images: 'apply' turns them upright, 'ignore' takes them as stored, 'auto' goes by "
        "the size that their labels are for, else upright",
        choices=("auto", "apply", "ignore"),
    )
    undecodable: str = option(
        "error",
        "an image that cannot be read: 'error' stops the run, 'skip' counts and replaces it",
        choices=("error", "skip"),
    )
    shapes: ShapesConfig = option(ShapesConfig, "size of the procedural data set")
    short_side: int = option(256, "images are resized to this short side, in pixels", minimum=32, maximum=MAX_SIDE)
    long_side: int | None = option(None, "but not beyond this long side, in pixels", minimum=32, maximum=MAX_SIDE)
    scale: list[float] | None = option(None, "[least, most] random factor on the size that images are trained at")
    crop: int | None = option(
        224,
        "side of the random crop that the network trains on, in pixels; null: whole images, padded (train only)",
        minimum=32,
        maximum=MAX_SIDE,
    )
    area: list[float] | None = option(
        None, "[least, most] share of the image that a crop of random size and shape covers; null: crops of one scale"
    )
    crop_width: int | None = option(
        None,
        "width of the crop, in pixels, where it is no square; data.crop is then its height (train only)",
        minimum=32,
        maximum=MAX_SIDE,
    )
    crop_place: str = option(
        "random", "where a crop is cut: at a random place, or at the center", choices=("random", "center")
    )
    rotation: float | None = option(
        None,
        "deviation in degrees of the random angle that 60 % of the images are turned by; not for boxes",
        minimum=0,
    )
    flip: bool = option(True, "flip half of the images horizontally")
    flip_pairs: list[list[str]] = option(
        list, "classes that change places in a flipped image: [[left_hand, right_hand]]; keypoints do so by their names"
    )
    color: str = option(
        "none",
        "change colours in training: none, photometric (for any task) or randaugment",
        choices=("none", "photometric", "randaugment"),
    )


@dataclass
class TeacherConfig:
    """A classifier whose answers are learnt beside the labels (hard distillation)."""

    model: str | None = option(None, "name of a timm model, or the folder of a trained model of ours; null: no teacher")
    weights: str | None = option(None, "local weights of a timm model; null: timm's pretrained ones")
    size: int | None = option(
        None, "side in pixels that the teacher sees the images at; null: what the model sees", minimum=32
    )


@dataclass
class TrainConfig:
    """Training a final model."""

    steps: int | None = option(None, "iterations; give this or epochs", minimum=1)
    epochs: float | None = option(None, "passes over the training images; or steps", minimum=0, maximum=10**6)
    batch_size: int = option(64, "images an iteration, over all processes", minimum=1, maximum=MAX_IMAGES)
    accumulate: int = option(
        1, "backward passes that a process cuts its share of an iteration's images into", minimum=1
    )
    ema: float | None = option(
        None, "decay of the moving average of the weights, which is then evaluated and saved", minimum=0
    )
    ema_warmup: bool = option(False, "let the decay rise to that from 0, for runs of few iterations")
    sync_bn: bool | None = option(
        None, "share BN's statistics between GPUs; null: where a GPU sees fewer than 16 images at a time"
    )
    eval_every: int | None = option(None, "iterations between two evaluations; null: at the end only", minimum=1)
    task_weights: str = option(
        "fixed",
        "with model.tasks, how their losses are weighed: by each one's weight alone (fixed), or also by an uncertainty "
        "that is learnt",
        choices=("fixed", "uncertainty"),
    )
    teacher: TeacherConfig = option(TeacherConfig, "hard distillation, for classification")


@dataclass
class EvaluateConfig:
    """Evaluating a trained model."""

    model: str | None = option(None, "folder of the trained model")
    images: str | None = option(
        None,
        "a folder of images to predict, or one image; those that cannot be read are counted and left out. null: "
        "data.val, whose labels are compared with",
    )
    frame: str = option(
        "upright",
        "pixels that predictions of evaluate.images are in: of images as a person sees them, or as they are stored",
        choices=("upright", "stored"),
    )
    batch_size: int = option(8, "images at a time, a process", minimum=1, maximum=MAX_IMAGES)
    num_drawn: int = option(16, "predictions that are drawn", minimum=0)
    write_predictions: bool = option(True, "write boxes as COCO json, masks as PNG, classes as csv")
    trust_code: bool = option(
        False, "run code outside of this project that the model names, its head's or network's; only if you trust it"
    )


@dataclass
class RuntimeConfig:
    """How it runs; but for the precision a resumed run may change it."""

    device: str = option("auto", "auto (cuda where there is one), cpu or cuda", choices=("auto", "cpu", "cuda"))
    precision: str = option(
        "float32", "float32, bfloat16 (autocast) or float64", choices=("float32", "bfloat16", "float64")
    )
    tf32: bool = option(
        True, "round the factors of float32 products on GPUs to TF32's 10 bits: faster; false: full float32"
    )
    workers: int = option(2, "data loader processes per process", minimum=0, maximum=1024)
    timeout: float = option(
        20.0,
        "seconds without a sign of life after which a process that is stopped ends the others of a run; one that may "
        "be busy or is on another machine has ten times that, one that is killed ends them at once; work that takes "
        "long is no silence",
        minimum=0.1,
    )
    threads: int | None = option(None, "torch's CPU threads per process; null: its own choice", minimum=1, maximum=4096)
    log_every: int = option(10, "iterations between two records of metrics and probabilities", minimum=1)
    checkpoint_every: int = option(200, "iterations between two checkpoints", minimum=1)
    loggers: list[str] = option(
        lambda: ["tensorboard"],
        "where metrics go beside metrics.jsonl: tensorboard, wandb, mlflow, several or none: []",
    )
    imports: list[str] = option(
        list, "modules of yours to import first, such as one that registers a handler of URIs; see docs/PYTHON.md"
    )
    latency_cache: str | None = option(
        None, "folder of measured latencies; null: fbnetv5/latency below $XDG_CACHE_HOME or ~/.cache"
    )


@dataclass
class RunConfig:
    """One run."""

    job: str = option(
        "search",
        "search; pretrain: train the supernet with random architectures; train: a final model; evaluate: a trained one"
        "; label: images with pretrained models; export: a trained model to devices; or the dotted name of a project's "
        "function run(config, folder)",
    )
    name: str = option(MISSING, "name of the run")
    output: str = option("runs/${name}", "folder of the run, from the working directory")
    resume: bool = option(False, "go on from the folder's latest checkpoint")
    seed: int = option(0, "seed of everything random", minimum=0)
    model: ModelConfig = option(ModelConfig, "the network")
    data: DataConfig = option(DataConfig, "the images")
    tasks: dict[str, Any] = option(dict, "name: {_target_: class, its options}; the order is that of the results")
    optimizer: OptimizerConfig = option(OptimizerConfig, "what moves the weights")
    search: SearchConfig = option(SearchConfig, "the search")
    train: TrainConfig = option(TrainConfig, "training a final model")
    evaluate: EvaluateConfig = option(EvaluateConfig, "evaluating a trained model, also at the end of its training")
    label: LabelConfig = option(LabelConfig, "labelling images with pretrained models")
    export: ExportConfig = option(ExportConfig, "exporting a trained model to devices")
    runtime: RuntimeConfig = option(RuntimeConfig, "how it runs")
    project: dict[str, Any] = option(dict, "a project's own keys; its README and configs say which")


GROUP = "fbnetv5"  # of configs, for hydra
RENAMED = {
    "search.budget_macs": "search.budget, in the unit of search.cost (by default MACs)",
    "search.arch_start_step": "search.arch_start, a share of the run",
}


def register() -> None:
    """Make ``/fbnetv5/schema`` known to hydra's ``defaults`` lists."""
    store = ConfigStore.instance()
    if GROUP not in store.repo:
        store.store(group=GROUP, name="schema", package="_global_", node=RunConfig)
