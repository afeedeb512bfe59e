"""The search: distributions over architectures, how their gradients are estimated, and what is derived from them.

Nothing here knows of networks, images or losses. An architecture is a vector of choices, one integer a slot; a
:class:`~fbnetv5.search.space.SearchSpace` says what the integers mean.

Called, ``fbnetv5.search("quickstart")`` runs a search: :func:`fbnetv5.facade.runs.search`.
"""
