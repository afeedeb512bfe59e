"""How good predictions are: accuracy, mIoU, COCO's AP and PCK, over all processes of a run."""
