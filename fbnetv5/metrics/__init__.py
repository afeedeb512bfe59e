"""How good predictions are: accuracy, mIoU and COCO's AP, over all processes of a run."""
