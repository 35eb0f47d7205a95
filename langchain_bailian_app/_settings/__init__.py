"""Connection settings of models, retrievers and clients. Does no I/O."""
