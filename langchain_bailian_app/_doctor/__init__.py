"""The checks behind `python -m langchain_bailian_app doctor`."""
