"""Knowledge distillation: losses, and a model that trains a student beside its teachers."""
