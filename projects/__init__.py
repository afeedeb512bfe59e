"""Methods on top of the core, a folder each; they import ``fbnetv5``, which never imports them."""
