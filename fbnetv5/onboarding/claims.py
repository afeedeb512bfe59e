"""Which file labels which image, where several name one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set

from fbnetv5.onboarding.listing import Claim, Listing, distance, split_of


def claims_of(listing: Listing, names: Iterable[str], near: str) -> dict[Claim, str]:
    """Return the image that each name in a file of labels means; of several names of one image, the nearest."""
    found = {Claim(name, near): image for name in names if (image := listing.image_of(name, near)) is not None}
    return nearest(found)


def nearest(claims: Mapping[Claim, str], *, equals: bool = False) -> dict[Claim, str]:
    """Return, of claims and the images that they mean, those that hold: of several of one image the nearest.

    The others are of images of the same name in another folder, which are not here.

    Args:
        claims: the image of each.
        equals: whether all hold that agree as much with the folders and the split of their image, as of files that
            label the same images; else only the first of the nearest.
    """
    rivals = defaultdict(list)
    for claim, image in claims.items():
        rivals[image].append(claim)
    held: dict[Claim, str] = {}
    for image, several in rivals.items():
        if len(several) > 1:
            distances = {claim: distance(image, claim) for claim in several}
            best = min(several, key=distances.__getitem__)
            several = [claim for claim in several if equals and distances[claim][:2] == distances[best][:2]] or [best]
        held |= dict.fromkeys(several, image)
    return held


def told_splits(claims: Mapping[Claim, str]) -> dict[str, str]:
    """Return the split of each image that a file whose path tells one names; of several, the nearest."""
    told = {name: split_of(name, is_file=True) for name in {claim.near for claim in claims}}
    held = nearest({claim: image for claim, image in claims.items() if told[claim.near]})
    return {image: told[claim.near] for claim, image in held.items()}


def shared_out(files: Mapping[str, Set[str]], classes: Mapping[str, Set[str]] | None = None) -> dict[str, set[str]]:
    """Return the images that each file of labels is taken for.

    Files that share images and no class are taken together; else the first has the images that they share.

    Args:
        files: the images that each names.
        classes: of each file; None where an image has one label, so that no files are taken together.
    """
    taken: dict[str, set[str]] = {}
    for name, images in files.items():
        rivals = [other for other in taken if classes is None or classes[other] & classes[name]]
        taken[name] = set(images).difference(*(taken[other] for other in rivals))
    return {name: images for name, images in taken.items() if images}


def left_out_notes(files: Iterable[str], used: Collection[str]) -> list[str]:
    """Return a line on each file that no image was left to."""
    return [f"{name}: left out, as other files label its images" for name in files if name not in used]


def sharing_notes(files: Mapping[str, Set[str]], taken: Mapping[str, Set[str]]) -> list[str]:
    """Return a line on each file that shares images with others, taken together or left to them."""
    notes = []
    for name, images in files.items():
        left = len(images) - len(taken.get(name, ()))
        if left and name in taken:
            notes.append(f"{name}: {left:,} of its images are labelled by other files, and left to them")
    together = [name for name in taken if any(taken[name] & taken[other] for other in taken if other != name)]
    if together:
        notes.append(f"{', '.join(together)}: taken together, as they label the same images with different classes")
    return notes
