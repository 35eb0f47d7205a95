"""Checks of `python -m langchain_bailian_app doctor`."""
