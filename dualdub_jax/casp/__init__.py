"""CASP, contrastive audio–speech pretraining: BEATs encoders, the model, its training and its scores."""
