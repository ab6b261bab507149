"""The generation model: a pretrained video diffusion transformer, its adapter and its encoders."""
