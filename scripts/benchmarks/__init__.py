"""The parts of ``bench_search_step.py``: one file a question, each with its measurement and its table."""
