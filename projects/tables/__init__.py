"""Search methods on published tables, whose truth others have trained: NAS-Bench-Macro and NAS-Bench-MR."""
