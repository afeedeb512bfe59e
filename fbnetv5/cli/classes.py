"""The classes that a config can name, with the defaults of their options, as text: ``--help`` must not import them.

``tests/cli/test_help.py`` compares it with the classes, and prints what it should be.
"""

from __future__ import annotations

CLASSES: dict[str, dict[str, str]] = {
    "tasks": {
        "fbnetv5.tasks.classification.Classification": "path=3, hidden_channels=1984",
        "fbnetv5.tasks.detection.Detection": (
            "path=1, anchor_sizes=(32, 64, 96, 128, 160), aspect_ratios=(0.5, 1.0, 2.0), hidden_channels=256, "
            "roi_size=6, num_proposals=100, num_sampled=64, num_sampled_anchors=64"
        ),
        "fbnetv5.tasks.segmentation.Segmentation": "path=1",
        "fbnetv5.tasks.depth.Depth": "path=1, kernel_size=3",
        "fbnetv5.tasks.keypoints.Keypoints": "path=1, sigma=2.0",
    },
    "search methods": {
        "fbnetv5.search.algorithms.MultitaskReinforce": (
            "group=1, draws=auto, baseline=auto, deviation=auto, cost_weight=1.0, cost_target=0.5, window=200"
        ),
        "fbnetv5.search.differentiable.SingleTask": (
            "relaxation=straight_through, temperature=1.0, cost_weight=1.0, cost_target=0.5, window=200"
        ),
        "fbnetv5.search.differentiable.TaskByTask": (
            "relaxation=straight_through, temperature=1.0, cost_weight=1.0, cost_target=0.5, window=200"
        ),
        "fbnetv5.search.differentiable.SharedForward": "cost_weight=1.0, cost_target=0.5, window=200",
        "fbnetv5.search.algorithms.RandomSampling": "",
    },
    "heads": {
        "fbnetv5.heads.classifier.Classifier": (
            "path=3, expansion=6, hidden_channels=1984, dropout=0.0, label_smoothing=0.0"
        ),
        "fbnetv5.heads.lite_rcnn.LiteRCNN": (
            "path=1, anchor_sizes=(32, 64, 96, 128, 160), aspect_ratios=(0.5, 1.0, 2.0), num_candidates=(2000, 1000), "
            "num_proposals=(2000, 30), num_sampled=512, num_sampled_anchors=256, score_threshold=0.05"
        ),
        "fbnetv5.heads.lite_maskformer.LiteMaskFormer": (
            "pixel_path=1, segment_path=3, embedding_channels=256, num_queries=100, hidden_channels=2048, dropout=0.1"
        ),
        "fbnetv5.heads.simple_baseline.SimpleBaseline": "path=3, num_deconvs=3, hidden_channels=256, sigma=2.0",
    },
    "teachers of the job label": {
        "fbnetv5.labeling.teachers.TorchvisionBoxes": "precision=float32, others=error",
        "fbnetv5.labeling.teachers.TorchvisionPixels": "precision=float32, others=error",
        "fbnetv5.labeling.teachers.TrainedBoxes": "precision=float32, others=error",
        "fbnetv5.labeling.teachers.TrainedPixels": "precision=float32, others=error",
        "fbnetv5.labeling.teachers.TransformersBoxes": "local_files_only=False, precision=float32, others=error",
        "fbnetv5.labeling.teachers.TransformersPixels": "local_files_only=False, precision=float32, others=error",
    },
}
