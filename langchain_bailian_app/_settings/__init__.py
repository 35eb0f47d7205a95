"""Fields that configure models, retrievers and clients. Does no I/O."""
