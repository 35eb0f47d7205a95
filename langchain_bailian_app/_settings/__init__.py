"""Connection settings of models, retrievers and clients, without I/O."""
